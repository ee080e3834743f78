import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';

/** What a server that does as it is told was asked. */
export interface Asked {
	method: string | undefined;
	url: string | undefined;
	headers: http.IncomingHttpHeaders;
	body: string;
}

export type Answer = (reply: ServerResponse, asked: Asked) => void | Promise<void>;

/** A server that answers all with `answer`, at a free port or a Unix socket. */
export class Scripted implements AsyncDisposable {
	readonly asked: Asked[] = [];
	readonly #server: http.Server;
	connections = 0;

	constructor(answer: Answer) {
		this.#server = http.createServer((request, reply) => void this.#serve(request, reply, answer));
		this.#server.on('connection', () => this.connections++);
	}

	static async start(answer: Answer, path?: string): Promise<Scripted> {
		const scripted = new Scripted(answer);
		await new Promise<void>((resolve) => {
			if (path === undefined) scripted.#server.listen(0, '127.0.0.1', resolve);
			else scripted.#server.listen(path, resolve);
		});
		return scripted;
	}

	get host(): string {
		return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
	}

	async [Symbol.asyncDispose](): Promise<void> {
		this.#server.closeAllConnections();
		await new Promise((resolve) => this.#server.close(resolve));
	}

	async #serve(request: IncomingMessage, reply: ServerResponse, answer: Answer): Promise<void> {
		const { method, url, headers } = request;
		const asked = { method, url, headers, body: await text(request) };
		this.asked.push(asked);
		await answer(reply, asked);
	}
}

export function json(value: unknown, status = 200): Answer {
	return (reply) => void reply.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

/** The bytes in pieces of `size`, each of which arrives by itself. */
export async function inPieces(reply: ServerResponse, bytes: Buffer, size: number): Promise<void> {
	reply.flushHeaders();
	reply.socket?.setNoDelay();
	for (let at = 0; at < bytes.length; at += size) {
		await new Promise((resolve) => reply.write(bytes.subarray(at, at + size), resolve));
		await turn();
	}
}

export const demo = {
	id: `sbx_${'0'.repeat(32)}`,
	name: 'demo',
	path: 'demo',
	state: 'ready',
	template: 'default',
	parent: null,
	config: { exec_timeout_seconds: 0 },
};
