import type { Client } from './client.js';
import type { Bytes } from './http.js';
import { ofRun } from './paths.js';
import type { CallOptions, Language, Run, RunSummary } from './types.js';

export interface RunOptions extends CallOptions {
	/** `python` is the persistent REPL, `bash` a fresh shell. */
	language?: Language | undefined;
	/** What the program reads; without it, the end of file. */
	stdin?: string | undefined;
	/** Seconds after which it is killed. */
	timeoutSeconds?: number | undefined;
}

export type RunNumber = number | 'last';

/** With `true` its stdin comes later, by runs.stdin(). */
export type StartOptions = Omit<RunOptions, 'stdin'> & { stdin?: string | true | undefined };

/** @internal What a request to run code says. */
export function bodyOf(code: string, { language, stdin, timeoutSeconds }: StartOptions): object {
	return { code, language, stdin, timeout_seconds: timeoutSeconds };
}

/** The runs of a sandbox: the newest 1,000 are kept. */
export class Runs {
	readonly #client: Client;
	readonly #path: string;

	constructor(client: Client, sandbox: string) {
		this.#client = client;
		this.#path = `/v1/sandboxes/${encodeURIComponent(sandbox)}/runs`;
	}

	/** All that are kept, without their output. */
	async list(options: CallOptions = {}): Promise<RunSummary[]> {
		const { runs } = await this.#client.http.json<{ runs: RunSummary[] }>(this.#path, options);
		return runs;
	}

	/** `wait`: when it has ended; `figures`: with the pictures' bytes. */
	async get(run: RunNumber, options: CallOptions & { wait?: boolean | undefined; figures?: boolean | undefined } = {}): Promise<Run> {
		const { wait, figures, signal } = options;
		const query = { wait, figures: figures ? 'data' : undefined };
		return ofRun(await this.#client.http.json(`${this.#path}/${run}`, { query, signal }));
	}

	/** Begins a run and does not wait for it. */
	async start(code: string, options: StartOptions = {}): Promise<Run> {
		const { signal } = options;
		const json = { ...bodyOf(code, options), wait: false };
		return ofRun(await this.#client.http.json(this.#path, { method: 'POST', json, signal }));
	}

	/** Runs code to its end: with output, changed files, and figures with their bytes. */
	async run(code: string, options: RunOptions = {}): Promise<Run> {
		const { signal } = options;
		const [query, json] = [{ figures: 'data' }, bodyOf(code, options)];
		return ofRun(await this.#client.http.json(this.#path, { method: 'POST', query, json, signal }));
	}

	/** What a run that was started with `stdin: true` reads, as it comes; its end is the end of the file. */
	async stdin(run: RunNumber, data: Bytes, options: CallOptions = {}): Promise<void> {
		await this.#client.http.bytes(`${this.#path}/${run}/stdin`, { ...options, method: 'PUT', body: data });
	}

	/** `interrupt` is Ctrl-C: what Python has in its variables stays. */
	async stop(run: RunNumber, signal: 'interrupt' | 'kill' = 'kill', options: CallOptions = {}): Promise<void> {
		await this.#client.http.bytes(`${this.#path}/${run}/stop`, { ...options, method: 'POST', json: { signal } });
	}

	/** The exact bytes of a run's output, or its code; `follow`: until the run ends. */
	async *output(
		run: RunNumber,
		which: 'stdout' | 'stderr' | 'output' | 'code' = 'output',
		options: CallOptions & { follow?: boolean | undefined } = {},
	): AsyncGenerator<Buffer, void, undefined> {
		const { follow, signal } = options;
		const reply = await this.#client.http.send(`${this.#path}/${run}/${which}`, { query: { follow }, signal });
		yield* this.#client.http.stream(reply, signal);
	}

	/** A figure's picture; the first one is 1. */
	figure(run: RunNumber, figure: number, options: CallOptions = {}): Promise<Buffer> {
		return this.#client.http.bytes(`${this.#path}/${run}/figures/${figure}`, options);
	}
}
