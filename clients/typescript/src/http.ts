import http, { type IncomingMessage, type OutgoingHttpHeaders, type RequestOptions } from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import type { Address } from './address.js';
import { ConnectionError, errorOf, SandboxError } from './errors.js';
import { camel } from './names.js';

/** What can be sent as the bytes of a file. */
export type Bytes = string | Uint8Array | AsyncIterable<Uint8Array>;

export interface Call {
	method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
	/** Undefined values are left out; an array is a name that comes several times. */
	query?: Record<string, string | number | boolean | readonly string[] | undefined>;
	json?: object;
	body?: Bytes;
	headers?: OutgoingHttpHeaders;
	signal?: AbortSignal | undefined;
}

/** Ends a connection that lies idle before a server is likely to; a request that meets a closing one is lost. */
const idleLimit = 4_000;

/**
 * The requests of one client: to one address, over connections that are kept alive. A
 * connection that carries nothing does not keep the process running.
 */
export class Transport {
	readonly #address: Address;
	readonly #headers: OutgoingHttpHeaders;
	readonly #agent: http.Agent;

	constructor(address: Address, headers: OutgoingHttpHeaders) {
		const secure = 'url' in address && address.url.protocol === 'https:';
		this.#address = address;
		this.#headers = headers;
		this.#agent = new (secure ? https : http).Agent({ keepAlive: true, timeout: idleLimit });
	}

	/** The address as a person would write it. */
	get host(): string {
		return 'url' in this.#address ? this.#address.url.href.replace(/\/$/, '') : `unix:${this.#address.socketPath}`;
	}

	close(): void {
		this.#agent.destroy();
	}

	/** send() - the answer, whose body is still to be read; an error's is read and thrown. */
	async send(path: string, call: Call = {}): Promise<IncomingMessage> {
		const reply = await this.#exchange(path, call);
		const status = reply.statusCode ?? 0;
		if (status >= 200 && status < 300) return reply;
		throw errorOf(status, (await this.#read(reply, call.signal)).toString('utf8'));
	}

	/** bytes() - the whole body of the answer. */
	async bytes(path: string, call: Call = {}): Promise<Buffer> {
		return this.#read(await this.send(path, call), call.signal);
	}

	/** json() - what the answer says, with names in camelCase; undefined for an empty one. */
	async json<T>(path: string, call: Call = {}): Promise<T> {
		const body = await this.bytes(path, call);
		return (body.length === 0 ? undefined : camel(JSON.parse(body.toString('utf8')))) as T;
	}

	/**
	 * stream() - the body of an answer as it comes. Who stops reading ends the connection, and
	 * nothing else.
	 */
	async *stream(reply: IncomingMessage, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
		try {
			for await (const chunk of reply) yield chunk as Buffer;
		} catch (cause) {
			throw this.#reason(cause, signal);
		} finally {
			reply.destroy();
		}
	}

	async #read(reply: IncomingMessage, signal?: AbortSignal): Promise<Buffer> {
		const chunks: Buffer[] = [];
		for await (const chunk of this.stream(reply, signal)) chunks.push(chunk);
		return Buffer.concat(chunks);
	}

	#exchange(path: string, call: Call): Promise<IncomingMessage> {
		const body = call.json === undefined ? call.body : JSON.stringify(call.json);
		const options: RequestOptions = {
			...this.#target(path + queryOf(call.query)),
			method: call.method ?? 'GET',
			agent: this.#agent,
			headers: { ...this.#headers, ...lengthOf(body, call), ...call.headers },
		};
		if (call.signal) options.signal = call.signal;
		return new Promise((resolve, reject) => {
			let source: { cause: unknown } | undefined;
			const fail = (cause: unknown) => reject(source ? source.cause : this.#reason(cause, call.signal));
			const secure = 'url' in this.#address && this.#address.url.protocol === 'https:';
			const request = (secure ? https : http).request(options, resolve);
			// It stays when there is an answer: one may come while the body is still being sent.
			request.on('error', fail);
			if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) request.end(body);
			else {
				const told = (cause: unknown) => (source = { cause });
				pipeline(Readable.from(watched(body, told), { objectMode: false }), request).catch(fail);
			}
		});
	}

	#target(path: string): RequestOptions {
		if ('socketPath' in this.#address) return { socketPath: this.#address.socketPath, path };
		const { hostname, port, pathname } = this.#address.url;
		return { hostname: hostname.replace(/^\[|\]$/g, ''), port, path: pathname.replace(/\/$/, '') + path };
	}

	#reason(cause: unknown, signal?: AbortSignal): unknown {
		if (signal?.aborted) return signal.reason;
		if (cause instanceof SandboxError || cause instanceof ConnectionError) return cause;
		const why = cause instanceof Error ? cause.message : String(cause);
		const { code } = cause as NodeJS.ErrnoException;
		const absent = code === 'ECONNREFUSED' || code === 'ENOENT';
		const hint = absent ? ': is a pffs running? `pffs serve` starts one' : '';
		return new ConnectionError(`the connection to ${this.host} failed (${why})${hint}`, { cause });
	}
}

/** An error of the caller's own source is the caller's, not one of the connection. */
async function* watched(body: AsyncIterable<Uint8Array>, told: (cause: unknown) => void) {
	try {
		yield* body;
	} catch (cause) {
		told(cause);
		throw cause;
	}
}

function queryOf(query: Call['query'] = {}): string {
	const search = new URLSearchParams();
	for (const [name, value] of Object.entries(query)) {
		for (const item of Array.isArray(value) ? (value as string[]) : [value as string | undefined]) {
			if (item !== undefined) search.append(name, String(item));
		}
	}
	return search.size > 0 ? `?${search}` : '';
}

function lengthOf(body: Bytes | undefined, call: Call): OutgoingHttpHeaders {
	const headers: OutgoingHttpHeaders = {};
	if (call.json !== undefined) headers['content-type'] = 'application/json';
	if (typeof body === 'string' || body instanceof Uint8Array) headers['content-length'] = Buffer.byteLength(body);
	else if (body === undefined && call.method === 'POST') headers['content-length'] = 0;
	return headers;
}
