import type { Client } from './client.js';
import { ConnectionError, SandboxError } from './errors.js';
import type { CallOptions, PtySessionInfo } from './types.js';

export interface PtyCallbacks {
	/** What the program shows. The next piece comes when a promise that this returns is kept. */
	onData?: ((data: Buffer) => void | Promise<void>) | undefined;
	onExit?: ((exitCode: number) => void) | undefined;
}

export interface PtyOptions extends PtyCallbacks, CallOptions {
	/** A string is run by `bash -lc`, a list is a program and its arguments. */
	cmd: string | readonly string[];
	cols?: number | undefined;
	rows?: number | undefined;
	env?: Record<string, string> | undefined;
	cwd?: string | undefined;
	/** Milliseconds after which it is killed; 0, as without it: never. */
	timeoutMs?: number | undefined;
}

type PtyEvent =
	| { type: 'pty_ready'; session_id: string }
	| { type: 'pty_data'; data_b64: string }
	| { type: 'pty_exit'; data: number }
	| { type: 'pty_error'; message: string };

/** The terminals of a sandbox. */
export class PtyNamespace {
	readonly #client: Client;
	readonly #path: string;

	constructor(client: Client, sandbox: string) {
		this.#client = client;
		this.#path = `/v1/sandboxes/${encodeURIComponent(sandbox)}/pty`;
	}

	/** Starts a program in a terminal of its own. */
	async create(options: PtyOptions): Promise<PtyHandle> {
		const { cmd, cols = 80, rows = 24, env, cwd, timeoutMs, signal } = options;
		const { signal: ends, end } = ending(signal);
		const { objects } = await this.#client.objects(this.#path, {
			method: 'POST',
			json: {
				...(typeof cmd === 'string' ? { shellCmd: cmd } : { argv: cmd }),
				cols,
				rows,
				cwd,
				env: env && Object.entries(env),
			},
			signal: ends,
		});
		const events = objects as AsyncGenerator<PtyEvent, void, undefined>;
		const handle = new PtyHandle(this.#client, this.#path, await readyOf(events), events, options, end);
		if (timeoutMs) handle.killAfter(timeoutMs);
		return handle;
	}

	/** Shows a terminal from what is kept of its output on; others that show it go on. */
	async attach(ptyId: string, options: PtyCallbacks & CallOptions = {}): Promise<PtyHandle> {
		const { signal, end } = ending(options.signal);
		const { objects } = await this.#client.objects(`${this.#path}/${encodeURIComponent(ptyId)}/attach`, { signal });
		const events = objects as AsyncGenerator<PtyEvent, void, undefined>;
		return new PtyHandle(this.#client, this.#path, ptyId, events, options, end);
	}

	list(options: CallOptions = {}): Promise<PtySessionInfo[]> {
		return this.#client.http.json(this.#path, options);
	}
}

/** A signal that is aborted with another one, or by us. */
function ending(signal: AbortSignal | undefined): { signal: AbortSignal; end: (reason: unknown) => void } {
	const controller = new AbortController();
	const signals = signal ? [signal, controller.signal] : [controller.signal];
	return { signal: AbortSignal.any(signals), end: (reason) => controller.abort(reason) };
}

/** The id that the first event says; what comes before it is not for us. */
async function readyOf(events: AsyncGenerator<PtyEvent, void, undefined>): Promise<string> {
	for (;;) {
		const { value, done } = await events.next();
		if (done) throw new ConnectionError('the terminal ended before it began');
		if (value.type === 'pty_ready') return value.session_id;
		if (value.type === 'pty_error') {
			await events.return();
			throw new SandboxError(value.message, 500, 'EIO');
		}
	}
}

/** A program in a terminal, and the stream that shows it. */
export class PtyHandle implements AsyncDisposable {
	readonly id: string;
	readonly #client: Client;
	readonly #path: string;
	readonly #exited: Promise<number>;
	readonly #end: (reason: unknown) => void;
	#callbacks: PtyCallbacks;
	#timer: NodeJS.Timeout | undefined;

	/** @internal */
	constructor(
		client: Client,
		path: string,
		id: string,
		events: AsyncGenerator<PtyEvent, void, undefined>,
		{ onData, onExit }: PtyCallbacks,
		end: (reason: unknown) => void,
	) {
		this.id = id;
		this.#client = client;
		this.#path = `${path}/${encodeURIComponent(id)}`;
		this.#callbacks = { onData, onExit };
		this.#end = end;
		this.#exited = this.#follow(events).finally(() => clearTimeout(this.#timer));
		// Nobody has to wait; who does hears of it.
		this.#exited.catch(() => {});
	}

	/** Keys: a string in UTF-8, or bytes (3 is Ctrl-C). */
	async sendInput(data: string | Uint8Array, options: CallOptions = {}): Promise<void> {
		const data_b64 = Buffer.from(data as Uint8Array).toString('base64');
		await this.#post('input', { data_b64 }, options);
	}

	async resize(size: { cols: number; rows: number }, options: CallOptions = {}): Promise<void> {
		await this.#post('resize', { cols: size.cols, rows: size.rows }, options);
	}

	async kill(options: CallOptions = {}): Promise<void> {
		await this.#post('kill', {}, options);
	}

	/** The program's exit code, when it has ended. A signal ends the waiting alone. */
	async wait({ signal }: CallOptions = {}): Promise<number> {
		if (!signal) return this.#exited;
		signal.throwIfAborted();
		let stop = () => {};
		const aborted = new Promise<never>((_, reject) => {
			stop = () => reject(signal.reason as Error);
			signal.addEventListener('abort', stop, { once: true });
		});
		try {
			return await Promise.race([this.#exited, aborted]);
		} finally {
			signal.removeEventListener('abort', stop);
		}
	}

	/** Shows it no more; the program goes on as long as somebody else shows it. */
	close(): void {
		this.#callbacks = {};
		this.#end(new ConnectionError('this terminal is no longer shown here'));
	}

	async [Symbol.asyncDispose](): Promise<void> {
		this.close();
	}

	/** @internal */
	killAfter(ms: number): void {
		this.#timer = setTimeout(() => void this.kill().catch(() => {}), ms);
		this.#timer.unref();
	}

	async #follow(events: AsyncGenerator<PtyEvent, void, undefined>): Promise<number> {
		let exitCode: number | undefined;
		for await (const event of events) {
			if (event.type === 'pty_data') await this.#callbacks.onData?.(Buffer.from(event.data_b64, 'base64'));
			else if (event.type === 'pty_exit') exitCode = event.data;
			else if (event.type === 'pty_error') throw new SandboxError(event.message, 500, 'EIO');
		}
		if (exitCode === undefined) throw new ConnectionError('the stream of the terminal ended before its program');
		this.#callbacks.onExit?.(exitCode);
		return exitCode;
	}

	async #post(what: string, json: object, options: CallOptions): Promise<void> {
		await this.#client.http.bytes(`${this.#path}/${what}`, { ...options, method: 'POST', json });
	}
}
