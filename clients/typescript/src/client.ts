import { findAddress } from './address.js';
import { type Call, Transport } from './http.js';
import { objects, serverEvents } from './lines.js';
import { camel } from './names.js';
import { Sandbox, type SandboxOptions } from './sandbox.js';
import { Templates } from './templates.js';
import type { CallOptions, HostInfo, SandboxEvent, SandboxInfo } from './types.js';

export interface ClientOptions {
	/** A URL, `unix:` and the path of a socket, or the path of a mount; see the package's page for what is taken without it. */
	host?: string | undefined;
	/** Without it $PFFS_API_KEY or $PODFLARE_API_KEY. */
	apiKey?: string | undefined;
	/** W3C Trace Context of what this is a part of; it is in the server's log. */
	traceparent?: string | undefined;
}

export interface EventOptions extends CallOptions {
	/** The `seq` after which to begin; 0: all that are kept. Without it: what happens from now on. */
	since?: number | undefined;
	/** False: what is kept, without waiting for more. */
	follow?: boolean | undefined;
}

const shared = new Map<string, Client>();

/** A server, and the connections to it, which any number of sandboxes can share. */
export class Client {
	readonly templates: Templates;
	/** @internal */
	readonly http: Transport;

	constructor(options: ClientOptions = {}) {
		const key = options.apiKey || process.env['PFFS_API_KEY'] || process.env['PODFLARE_API_KEY'];
		const traceparent = options.traceparent || process.env['PODFLARE_TRACEPARENT'];
		this.http = new Transport(findAddress(options.host), {
			...(key ? { authorization: `Bearer ${key}` } : {}),
			...(traceparent ? { traceparent } : {}),
		});
		this.templates = new Templates(this);
	}

	/** One client for all who ask for the same. */
	static shared(options: ClientOptions = {}): Client {
		const wanted = new Client(options);
		const name = JSON.stringify([wanted.host, options.apiKey, options.traceparent]);
		const client = shared.get(name) ?? wanted;
		shared.set(name, client);
		return client;
	}

	/** Where the server is: a URL, or `unix:` and a path. */
	get host(): string {
		return this.http.host;
	}

	/** Ends the connections that lie idle; the client can still be used. */
	close(): void {
		this.http.close();
	}

	/** Whether the server answers. */
	async healthy(options: CallOptions = {}): Promise<boolean> {
		return (await this.http.bytes('/v1/healthz', options)).toString('utf8').trim() === 'ok';
	}

	/** Engine, version, process, memory of the server. */
	hostInfo(options: CallOptions = {}): Promise<HostInfo> {
		return this.http.json('/v1/host', options);
	}

	/** A new sandbox; as Sandbox.create(). */
	create(options: Omit<SandboxOptions, 'client' | keyof ClientOptions> = {}): Promise<Sandbox> {
		return Sandbox.create({ ...options, client: this });
	}

	/** The sandbox with this id, or name, or path in the mount (`demo/forks/x`). */
	get(name: string, options: CallOptions = {}): Promise<Sandbox> {
		return Sandbox.get(name, { ...options, client: this });
	}

	/** All sandboxes. */
	async list(options: CallOptions = {}): Promise<Sandbox[]> {
		const { sandboxes } = await this.http.json<{ sandboxes: SandboxInfo[] }>('/v1/sandboxes', options);
		return sandboxes.map((info) => new Sandbox(this, info));
	}

	/** What happens to all sandboxes, until the signal is aborted or the loop is left. */
	events(options: EventOptions = {}): AsyncGenerator<SandboxEvent, void, undefined> {
		return this.eventsAt('/v1/events', options);
	}

	/** @internal */
	async *eventsAt(path: string, options: EventOptions): AsyncGenerator<SandboxEvent, void, undefined> {
		const { since, follow, signal } = options;
		const reply = await this.http.send(path, {
			query: { since, follow },
			headers: { accept: 'text/event-stream' },
			signal,
		});
		for await (const { data } of serverEvents(this.http.stream(reply, signal))) {
			yield camel(JSON.parse(data)) as SandboxEvent;
		}
	}

	/** @internal The objects of an answer in NDJSON, as they come. */
	async objects(path: string, call: Call): Promise<{ run: number | null; objects: AsyncGenerator<unknown, void, undefined> }> {
		const reply = await this.http.send(path, call);
		const run = Number(reply.headers['pffs-run']);
		return {
			run: Number.isInteger(run) && run > 0 ? run : null,
			objects: objects(this.http.stream(reply, call.signal)),
		};
	}
}
