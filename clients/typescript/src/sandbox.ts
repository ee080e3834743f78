import { Client, type ClientOptions, type EventOptions } from './client.js';
import { ConflictError, ConnectionError } from './errors.js';
import { Files, type WriteOptions } from './files.js';
import { camel, snake } from './names.js';
import { ofDiff } from './paths.js';
import { PtyNamespace } from './pty.js';
import { bodyOf, type RunOptions, Runs } from './runs.js';
import type {
	CallOptions,
	Diff,
	Event,
	Language,
	MergeReport,
	Run,
	SandboxEvent,
	SandboxInfo,
	SandboxSettings,
	Stats,
} from './types.js';

export interface ConnectOptions extends ClientOptions, CallOptions {
	/** A client that is there; without it one that all who ask for the same host and key share. */
	client?: Client | undefined;
}

export interface SandboxOptions extends SandboxSettings, ConnectOptions {
	template?: string | undefined;
}

export interface CloseOptions extends CallOptions {
	/** What becomes of its forks: they move to the root (the default), prevent it, or go as well. */
	forks?: 'keep' | 'refuse' | 'remove' | undefined;
}

/** How a run ended, and the lines that it put out, joined, without the last line's end. */
export class ExecResult {
	readonly stdout: string;
	readonly stderr: string;
	readonly exitCode: number;
	/** Its number in the sandbox's runs. */
	readonly run: number | null;
	readonly #runs: Runs;

	/** @internal */
	constructor(runs: Runs, run: number | null, stdout: string, stderr: string, exitCode: number) {
		this.#runs = runs;
		this.run = run;
		this.stdout = stdout;
		this.stderr = stderr;
		this.exitCode = exitCode;
	}

	get ok(): boolean {
		return this.exitCode === 0;
	}

	/** The run with its changed files and figures, when these are known. */
	details(options: CallOptions = {}): Promise<Run> {
		return this.#runs.get(this.run ?? 'last', { ...options, wait: true, figures: true });
	}
}

/** A computer of one's own. */
export class Sandbox implements AsyncDisposable {
	readonly client: Client;
	readonly files: Files;
	readonly runs: Runs;
	readonly pty: PtyNamespace;
	/** What the server said of it last; refresh() asks again. */
	info: SandboxInfo;
	readonly #path: string;
	#gone = false;

	/** @internal Sandboxes are made by create() and found by get(). */
	constructor(client: Client, info: SandboxInfo) {
		this.client = client;
		this.info = info;
		this.files = new Files(client, info.id);
		this.runs = new Runs(client, info.id);
		this.pty = new PtyNamespace(client, info.id);
		this.#path = pathOf(info.id);
	}

	/** A new sandbox, which is ready. */
	static async create(options: SandboxOptions = {}): Promise<Sandbox> {
		const { template, signal } = options;
		const client = clientOf(options);
		const json = { template, ...settingsOf(options) };
		return new Sandbox(client, await client.http.json('/v1/sandboxes', { method: 'POST', json, signal }));
	}

	/** One that is there, by its id, name, or path in the mount (`demo/forks/x`). */
	static async get(name: string, options: ConnectOptions = {}): Promise<Sandbox> {
		const { signal } = options;
		const client = clientOf(options);
		return new Sandbox(client, await client.http.json(pathOf(name), { signal }));
	}

	static list(options: ConnectOptions = {}): Promise<Sandbox[]> {
		return clientOf(options).list({ signal: options.signal });
	}

	/** One that is frozen, ready again. */
	static async resume(id: string, options: SandboxSettings & ConnectOptions = {}): Promise<Sandbox> {
		const { signal } = options;
		const client = clientOf(options);
		const path = `/v1/spaces/${encodeURIComponent(id)}/resume`;
		return new Sandbox(client, await client.http.json(path, { method: 'POST', json: settingsOf(options), signal }));
	}

	get id(): string {
		return this.info.id;
	}

	get name(): string {
		return this.info.name;
	}

	async refresh(options: CallOptions = {}): Promise<SandboxInfo> {
		return (this.info = await this.client.http.json(this.#path, options));
	}

	/** Changes settings; a `name` also moves a fork to the root of the mount. */
	async update(settings: SandboxSettings, options: CallOptions = {}): Promise<SandboxInfo> {
		const json = settingsOf(settings);
		return (this.info = await this.client.http.json(this.#path, { ...options, method: 'PATCH', json }));
	}

	/** Runs code to its end. A run that fails is a result: see `exitCode`. */
	async runCode(code: string, options: Language | RunOptions = {}): Promise<ExecResult> {
		const said: { stdout: string[]; stderr: string[] } = { stdout: [], stderr: [] };
		const { run, events } = await this.#exec(code, options);
		for await (const event of events) {
			if (event.type === 'exit') {
				return new ExecResult(this.runs, run, said.stdout.join('\n'), said.stderr.join('\n'), event.data);
			}
			said[event.type]?.push(event.data);
		}
		throw cutOff(run);
	}

	/** Runs code and gives its lines as they come; the last event is its end. Who leaves the loop does not end the run. */
	async *runCodeStream(code: string, options: Language | RunOptions = {}): AsyncGenerator<Event, void, undefined> {
		const { run, events } = await this.#exec(code, options);
		for await (const event of events) {
			yield event;
			if (event.type === 'exit') return;
		}
		throw cutOff(run);
	}

	/** Runs code to its end: with output, changed files, and figures with their bytes. */
	run(code: string, options: RunOptions = {}): Promise<Run> {
		return this.runs.run(code, options);
	}

	/** The newest 1,000 events of the runs that are kept. */
	async replay({ signal }: CallOptions = {}): Promise<Event[]> {
		const events: Event[] = [];
		const { objects } = await this.client.objects(`${this.#path}/replay`, { signal });
		for await (const event of objects) events.push(event as Event);
		return events;
	}

	/** Copies it while it runs, memory and all: so many times, or once for each name. All copies are ready. */
	async fork(wanted: number | readonly string[] = 1, options: CallOptions = {}): Promise<Sandbox[]> {
		const json = typeof wanted === 'number' ? { n: wanted } : { names: wanted };
		const path = `${this.#path}/fork`;
		const { sandboxes } = await this.client.http.json<{ sandboxes: SandboxInfo[] }>(path, {
			...options,
			method: 'POST',
			json,
		});
		return sandboxes.map((info) => new Sandbox(this.client, info));
	}

	/** It becomes what its fork has become; the fork goes. */
	async mergeInto(winner: Sandbox, options: CallOptions = {}): Promise<void> {
		const path = `${this.#path}/merge_into/${encodeURIComponent(winner.id)}`;
		await this.client.http.bytes(path, { ...options, method: 'POST' });
		winner.#gone = true;
	}

	/** Brings what forks changed in their files into it, or, when there are conflicts that nothing decides, nothing. */
	async mergeFiles(
		forks: Sandbox | readonly (Sandbox | string)[],
		options: CallOptions & { favour?: 'ours' | 'theirs' | undefined } = {},
	): Promise<MergeReport> {
		const { favour, signal } = options;
		const files = (forks instanceof Sandbox ? [forks] : forks).map(idOf);
		try {
			return await this.client.http.json(`${this.#path}/merge`, { method: 'POST', json: { files, favour }, signal });
		} catch (error) {
			const report = error instanceof ConflictError ? (camel(error.answer) as Partial<MergeReport>) : {};
			if (report.merged === false) return { merged: false, report: report.report ?? '' };
			throw error;
		}
	}

	/**
	 * How the files of another sandbox differ from its own. `other` may also be a name or id,
	 * `parent` or `template`; an empty list of paths is all that it is set to compare.
	 */
	async diff(
		other: Sandbox | string,
		paths: readonly string[] = ['/root', '/tmp'],
		options: CallOptions = {},
	): Promise<Diff> {
		return ofDiff(await this.client.http.json(this.#diffPath(other), { ...options, query: { path: paths } }));
	}

	/** The same as a unified patch, which turns its files into the other's. */
	async diffPatch(
		other: Sandbox | string,
		paths: readonly string[] = ['/root', '/tmp'],
		options: CallOptions = {},
	): Promise<string> {
		const query = { path: paths, format: 'patch' };
		return (await this.client.http.bytes(this.#diffPath(other), { ...options, query })).toString('utf8');
	}

	/** What it has changed in its files since it was made or forked. */
	async changes(paths: readonly string[] = [], options: CallOptions = {}): Promise<Diff> {
		return ofDiff(await this.client.http.json(`${this.#path}/changes`, { ...options, query: { path: paths } }));
	}

	/** Copies a file of this machine, or bytes, into the sandbox; with bytes the path may as well come first. */
	async upload(source: string | Uint8Array, target: string | Uint8Array, options: WriteOptions = {}): Promise<void> {
		if (typeof target !== 'string') return this.files.write(source as string, target, options);
		if (typeof source === 'string') return this.files.upload(source, target, options);
		return this.files.write(target, source, options);
	}

	/** The bytes of a file; files.download() writes them to a file of this machine. */
	async download(path: string, options: CallOptions = {}): Promise<Buffer> {
		return this.files.read(path, options);
	}

	/** What happens to it, until the signal is aborted or the loop is left. */
	events(options: EventOptions = {}): AsyncGenerator<SandboxEvent, void, undefined> {
		return this.client.eventsAt(`${this.#path}/events`, options);
	}

	/** What it uses and may use. */
	stats(options: CallOptions = {}): Promise<Stats> {
		return this.client.http.json(`${this.#path}/stats`, options);
	}

	/** Its machine goes to the disk; what needs it brings it back. */
	async freeze(options: CallOptions = {}): Promise<SandboxInfo> {
		return (this.info = await this.client.http.json(`${this.#path}/freeze`, { ...options, method: 'POST' }));
	}

	/** As before it was frozen. */
	async resume(options: CallOptions = {}): Promise<SandboxInfo> {
		return (this.info = await this.client.http.json(`${this.#path}/resume`, { ...options, method: 'POST' }));
	}

	/** Ctrl-C for the run that goes on: what Python has in its variables stays. */
	async interrupt(options: CallOptions = {}): Promise<void> {
		await this.client.http.bytes(`${this.#path}/interrupt`, { ...options, method: 'POST' });
	}

	/** Ends the run that goes on with all that it started. */
	async kill(options: CallOptions = {}): Promise<void> {
		await this.client.http.bytes(`${this.#path}/kill`, { ...options, method: 'POST' });
	}

	/** A new Python. */
	async reset(options: CallOptions = {}): Promise<void> {
		await this.client.http.bytes(`${this.#path}/reset`, { ...options, method: 'POST' });
	}

	/** Destroys it; one that is gone already is no error. */
	async close({ forks, signal }: CloseOptions = {}): Promise<void> {
		if (this.#gone) return;
		await this.client.http.bytes(this.#path, { method: 'DELETE', query: { forks }, signal });
		this.#gone = true;
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.close();
	}

	async #exec(code: string, options: Language | RunOptions) {
		const said: RunOptions = typeof options === 'string' ? { language: options } : options;
		const json = bodyOf(code, said);
		const { run, objects } = await this.client.objects(`${this.#path}/exec`, { method: 'POST', json, signal: said.signal });
		return { run, events: objects as AsyncGenerator<Event, void, undefined> };
	}

	#diffPath(other: Sandbox | string): string {
		return `${this.#path}/diff/${encodeURIComponent(idOf(other))}`;
	}
}

function clientOf(options: ConnectOptions): Client {
	const { client, host, apiKey, traceparent } = options;
	return client ?? Client.shared({ host, apiKey, traceparent });
}

/** Of options that are for more than the server, what is for it. */
function settingsOf(options: SandboxSettings): object {
	const { name, maxLifetimeSeconds, timeoutSeconds, idleTimeoutSeconds, persistent, egress } = options;
	const { execTimeoutSeconds, memoryMib, ramMib, diskMib, rootfsGb, vcpus, pids, cpuPercent } = options;
	const times = { maxLifetimeSeconds, timeoutSeconds, idleTimeoutSeconds, execTimeoutSeconds };
	const sizes = { memoryMib, ramMib, diskMib, rootfsGb, vcpus, pids, cpuPercent };
	return snake({ name, persistent, egress, ...times, ...sizes }) as object;
}

function idOf(sandbox: Sandbox | string): string {
	return typeof sandbox === 'string' ? sandbox : sandbox.id;
}

function pathOf(name: string): string {
	return `/v1/sandboxes/${encodeURIComponent(name)}`;
}

function cutOff(run: number | null): ConnectionError {
	const where = run === null ? 'it is in the runs of the sandbox' : `it is run ${run} of the sandbox`;
	return new ConnectionError(`the answer ended before the run did: ${where}`);
}
