import { createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';

import type { Client } from './client.js';
import { NotFoundError } from './errors.js';
import type { Bytes } from './http.js';
import { ofEntry } from './paths.js';
import type { CallOptions, Entry } from './types.js';

export interface WriteOptions extends CallOptions {
	/** Octal, as in `0755`. */
	mode?: string | undefined;
}

/**
 * The files of a sandbox. A path that does not begin with a slash begins at /root, where
 * programs begin.
 */
export class Files {
	readonly #client: Client;
	readonly #sandbox: string;

	constructor(client: Client, sandbox: string) {
		this.#client = client;
		this.#sandbox = sandbox;
	}

	/** The bytes of a file; `end` is that of the first byte that is not wanted. */
	read(path: string, options: CallOptions & { start?: number | undefined; end?: number | undefined } = {}): Promise<Buffer> {
		const { start, end, signal } = options;
		const range = start === undefined && end === undefined ? undefined : `bytes=${start ?? 0}-${end === undefined ? '' : end - 1}`;
		return this.#client.http.bytes(this.#path(path), { signal, ...(range ? { headers: { range } } : {}) });
	}

	async readText(path: string, options: CallOptions = {}): Promise<string> {
		return (await this.read(path, options)).toString('utf8');
	}

	/** The bytes of a file as they come. */
	stream(path: string, options: CallOptions = {}): AsyncGenerator<Buffer, void, undefined> {
		return this.#stream(path, {}, options);
	}

	/** A file is written whole or not at all; directories that are missing are made. */
	async write(path: string, data: Bytes, options: WriteOptions = {}): Promise<void> {
		const { mode, signal } = options;
		await this.#client.http.bytes(this.#path(path), { method: 'PUT', query: { mode }, body: data, signal });
	}

	/** What is in a directory. */
	async list(path: string, options: CallOptions = {}): Promise<Entry[]> {
		const { entries } = await this.#client.http.json<{ entries?: Entry[] }>(this.#path(path), {
			...options,
			headers: { accept: 'application/json' },
		});
		return (entries ?? []).map(ofEntry);
	}

	async stat(path: string, options: CallOptions = {}): Promise<Entry> {
		return ofEntry(await this.#client.http.json(this.#path(path), { ...options, query: { stat: true } }));
	}

	async exists(path: string, options: CallOptions = {}): Promise<boolean> {
		try {
			await this.stat(path, options);
			return true;
		} catch (error) {
			if (error instanceof NotFoundError) return false;
			throw error;
		}
	}

	async mkdir(path: string, options: WriteOptions = {}): Promise<void> {
		const { mode, signal } = options;
		await this.#client.http.bytes(this.#path(path), { method: 'PUT', query: { type: 'directory', mode }, signal });
	}

	async remove(path: string, options: CallOptions & { recursive?: boolean | undefined } = {}): Promise<void> {
		const { recursive, signal } = options;
		await this.#client.http.bytes(this.#path(path), { method: 'DELETE', query: { recursive }, signal });
	}

	/** A tar of a file or directory and all below it, as it comes. */
	tar(path: string, options: CallOptions = {}): AsyncGenerator<Buffer, void, undefined> {
		return this.#stream(path, { format: 'tar' }, options);
	}

	/** Takes out a tar in a directory. */
	async untar(path: string, archive: Bytes, options: CallOptions = {}): Promise<void> {
		await this.#client.http.bytes(this.#path(path), {
			...options,
			method: 'PUT',
			query: { format: 'tar' },
			body: archive,
		});
	}

	/** A file of this machine into the sandbox. */
	async upload(local: string, path: string, options: WriteOptions = {}): Promise<void> {
		const file = await open(local);
		try {
			await this.write(path, file.createReadStream({ autoClose: false }), options);
		} finally {
			await file.close();
		}
	}

	/** A file of the sandbox onto this machine. */
	async download(path: string, local: string, options: CallOptions = {}): Promise<void> {
		await pipeline(this.stream(path, options), createWriteStream(local));
	}

	async *#stream(path: string, query: { format?: string }, { signal }: CallOptions) {
		const reply = await this.#client.http.send(this.#path(path), { query, signal });
		yield* this.#client.http.stream(reply, signal);
	}

	#path(path: string): string {
		const absolute = path.startsWith('/') ? path : `/root/${path}`;
		const encoded = absolute.slice(1).split('/').map(encodeURIComponent).join('/');
		return `/v1/sandboxes/${encodeURIComponent(this.#sandbox)}/files/${encoded}`;
	}
}
