import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { PffsError } from './errors.js';

/** Where a server listens: a Unix socket, or the base of its URLs. */
export type Address = { socketPath: string } | { url: URL };

const fallback = 'http://127.0.0.1:7070';

/**
 * findAddress() - where to connect.
 * @param host - a URL, `unix:` and a path, the path of a socket or that of a mount; without it
 *	$PFFS_HOST, $PODFLARE_HOSTD_URL, $PODFLARE_HOST, or $PFFS_API (a socket, as for the command
 *	line), the socket of the pffs that runs, or http://127.0.0.1:7070.
 */
export function findAddress(host?: string): Address {
	const env = process.env;
	const said = host || env['PFFS_HOST'] || env['PODFLARE_HOSTD_URL'] || env['PODFLARE_HOST'];
	if (said) return addressOf(said);
	if (env['PFFS_API']) return { socketPath: env['PFFS_API'] };
	const sockets = liveSockets(runtimeDir());
	if (sockets.length > 1) {
		throw new PffsError(`several pffs run: say which by the option host or by PFFS_HOST: ${sockets.join(', ')}`);
	}
	const [socketPath] = sockets;
	return socketPath === undefined ? { url: new URL(fallback) } : { socketPath };
}

function addressOf(host: string): Address {
	if (host.startsWith('unix:')) return { socketPath: host.slice('unix:'.length).replace(/^\/\/(?=\/)/, '') };
	if (host.startsWith('/')) return addressOfPath(host);
	let url: URL;
	try {
		url = new URL(host.includes('://') ? host : `http://${host}`);
	} catch {
		throw new PffsError(`${host} is no address: give a URL such as ${fallback}, or a path`);
	}
	if (url.protocol !== 'http:' && url.protocol !== 'https:') {
		throw new PffsError(`${host} is neither http nor https`);
	}
	return { url };
}

/** A mount says in its file `host` where its pffs listens. */
function addressOfPath(path: string): Address {
	if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return { socketPath: path };
	let lines: string[];
	try {
		lines = readFileSync(join(path, 'host'), 'utf8').split('\n');
	} catch (cause) {
		throw new PffsError(`${path} is not a mount of pffs`, { cause });
	}
	const api = lines.find((line) => line.startsWith('api '));
	if (!api) throw new PffsError(`the pffs that is mounted at ${path} listens nowhere`);
	return { socketPath: api.slice('api '.length) };
}

function runtimeDir(): string {
	const uid = process.getuid?.();
	const { PFFS_RUNTIME_DIR: set, XDG_RUNTIME_DIR: xdg } = process.env;
	if (set) return set;
	if (uid === 0) return '/run/pffs';
	return xdg ? join(xdg, 'pffs') : `/tmp/pffs-${uid}`;
}

/** The sockets of the pffs that run: each is named for its process. */
function liveSockets(dir: string): string[] {
	let names: string[];
	try {
		// Somebody else can make a directory in /tmp.
		if (statSync(dir).uid !== process.getuid?.()) return [];
		names = readdirSync(dir);
	} catch {
		return [];
	}
	return names
		.filter((name) => /^\d+\.sock$/.test(name) && runs(Number.parseInt(name, 10)))
		.map((name) => join(dir, name));
}

function runs(pid: number): boolean {
	try {
		return process.kill(pid, 0);
	} catch {
		return false;
	}
}
