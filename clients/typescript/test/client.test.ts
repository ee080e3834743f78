/** What the client makes of a server's answers, whatever these are: no sandbox is needed. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import {
	AuthenticationError,
	Client,
	ConflictError,
	ConnectionError,
	type Event,
	InvalidError,
	NotFoundError,
	PffsError,
	Sandbox,
	SandboxError,
} from 'pffs';

import { type Answer, demo, inPieces, json, Scripted } from './scripted.ts';

const names = ['PFFS_HOST', 'PODFLARE_HOSTD_URL', 'PODFLARE_HOST', 'PFFS_API', 'PFFS_API_KEY', 'PODFLARE_API_KEY'];
let environment: NodeJS.ProcessEnv;
let scratch: string;

beforeEach(async () => {
	environment = { ...process.env };
	scratch = await mkdtemp(join(tmpdir(), 'pffs-ts-'));
	for (const name of names) delete process.env[name];
	process.env['PFFS_RUNTIME_DIR'] = scratch;
});

afterEach(async () => {
	process.env = environment;
	await rm(scratch, { recursive: true });
});

/** A sandbox whose server answers what is done with it by `answer`. */
async function sandboxOf(answer: Answer): Promise<{ server: Scripted; sandbox: Sandbox }> {
	const server = await Scripted.start((reply, asked) => (asked.url === '/v1/sandboxes' ? json(demo)(reply, asked) : answer(reply, asked)));
	return { server, sandbox: await Sandbox.create({ host: server.host }) };
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
	const items: T[] = [];
	for await (const item of source) items.push(item);
	return items;
}

const exit = { type: 'exit', data: 3, seq: 2, ts: 9 };

test('lines are put together from pieces that end anywhere, also in a character', async () => {
	const said = [
		{ type: 'stdout', data: 'größer: 你好 🙂', seq: 0, ts: 7 },
		{ type: 'stderr', data: 'ß'.repeat(3000), seq: 1, ts: 8 },
		exit,
	];
	const bytes = Buffer.from(`${said.map((event) => JSON.stringify(event)).join('\n')}\n\n`);
	for (const size of [1, 2, 3, 7, 1 << 20]) {
		const { server, sandbox } = await sandboxOf(async (reply) => {
			await inPieces(reply, bytes, size);
			reply.end();
		});
		assert.deepEqual(await all(sandbox.runCodeStream('')), said);
		await server[Symbol.asyncDispose]();
	}
});

test('a line of 20 MiB is one line', async () => {
	const data = 'x'.repeat(20 << 20);
	const { server, sandbox } = await sandboxOf((reply) => {
		reply.write(`${JSON.stringify({ type: 'stdout', data, seq: 0, ts: 1 })}\n`);
		reply.end(JSON.stringify(exit));
	});
	const result = await sandbox.runCode('');
	assert.equal(result.stdout.length, data.length);
	assert.equal(result.exitCode, 3);
	await server[Symbol.asyncDispose]();
});

test('an event comes when its line is complete, not when the answer is', async () => {
	let finish = () => {};
	const { server, sandbox } = await sandboxOf(async (reply) => {
		reply.write(`${JSON.stringify({ type: 'stdout', data: 'early', seq: 0, ts: 1 })}\n{"type":"stdo`);
		await new Promise<void>((resolve) => (finish = resolve));
		reply.end(`ut","data":"late","seq":1,"ts":2}\n${JSON.stringify(exit)}\n`);
	});
	const events: Event[] = [];
	for await (const event of sandbox.runCodeStream('')) {
		events.push(event);
		finish(); // The server waits for this.
	}
	assert.deepEqual(events.map((event) => event.data), ['early', 'late', 3]);
	await server[Symbol.asyncDispose]();
});

test('Server-Sent Events: comments, several lines of data, CRLF, a cut-off end', async () => {
	const seq = (n: number) => `id: ${n}\nevent: ready\ndata: {"seq": ${n},\ndata: "run_id": "ü"}\n\n`;
	const stream = Buffer.from(`: hello\n\n${seq(1)}${seq(2).replaceAll('\n', '\r\n')}id: 3\nretry: 5\ndata: {"seq": 3`);
	for (const size of [1, 5, 4096]) {
		const { server, sandbox } = await sandboxOf(async (reply) => {
			await inPieces(reply, stream, size);
			reply.end();
		});
		assert.deepEqual(await all(sandbox.events({ since: 0 })), [
			{ seq: 1, runId: 'ü' },
			{ seq: 2, runId: 'ü' },
		]);
		assert.equal(server.asked.at(-1)?.url, `/v1/sandboxes/${demo.id}/events?since=0`);
		assert.equal(server.asked.at(-1)?.headers.accept, 'text/event-stream');
		await server[Symbol.asyncDispose]();
	}
});

test('an answer that ends before the run does is no result', async () => {
	const { server, sandbox } = await sandboxOf((reply) => {
		reply.setHeader('pffs-run', '7');
		reply.end('{"type":"stdout","data":"x","seq":0,"ts":1}\n');
	});
	await assert.rejects(sandbox.runCode(''), (error) => error instanceof ConnectionError && /run 7/.test(error.message));
	await server[Symbol.asyncDispose]();
});

test('so is a connection that breaks', async () => {
	const { server, sandbox } = await sandboxOf((reply) => {
		reply.write('{"type":"stdout","data":"x","seq":0,"ts":1}\n', () => reply.destroy());
	});
	await assert.rejects(sandbox.runCode(''), ConnectionError);
	await server[Symbol.asyncDispose]();
});

test('an error has its kind, the sentence, and the code', async () => {
	for (const [status, kind] of [
		[400, InvalidError],
		[401, AuthenticationError],
		[404, NotFoundError],
		[409, ConflictError],
		[500, SandboxError],
	] as const) {
		await using server = await Scripted.start(json({ error: 'it cannot be', code: 'EX' }, status));
		await assert.rejects(Sandbox.get('demo', { host: server.host }), (error) => {
			assert(error instanceof kind && error instanceof SandboxError && error instanceof PffsError);
			assert.deepEqual([error.message, error.code, error.status], ['it cannot be', 'EX', status]);
			return true;
		});
	}
});

test('an error that is no JSON is told as it is', async () => {
	await using server = await Scripted.start((reply) => void reply.writeHead(502).end('Bad Gateway\n'));
	await assert.rejects(new Client({ host: server.host }).list(), { message: 'Bad Gateway', status: 502, code: '' });
	await using empty = await Scripted.start((reply) => void reply.writeHead(503).end());
	await assert.rejects(new Client({ host: empty.host }).list(), { message: 'the server answered 503' });
});

test('where nobody listens, the address is told', async () => {
	const client = new Client({ host: join(scratch, 'none.sock') });
	await assert.rejects(client.healthy(), (error) => {
		assert(error instanceof ConnectionError);
		assert.match(error.message, /none\.sock.*is a pffs running/);
		return true;
	});
});

test('names are snake_case on the wire and camelCase here', async () => {
	await using server = await Scripted.start(json(demo));
	const sandbox = await Sandbox.create({ host: server.host, maxLifetimeSeconds: 60, ramMib: 256, template: 't' });
	assert.deepEqual(JSON.parse(server.asked[0]?.body ?? ''), { template: 't', max_lifetime_seconds: 60, ram_mib: 256 });
	assert.equal(sandbox.info.config.execTimeoutSeconds, 0);
	await sandbox.runs.start('1', { timeoutSeconds: 5, language: 'bash' });
	assert.deepEqual(JSON.parse(server.asked[1]?.body ?? ''), {
		code: '1',
		language: 'bash',
		timeout_seconds: 5,
		wait: false,
	});
});

test('a path keeps its slashes and loses nothing else', async () => {
	const { server, sandbox } = await sandboxOf((reply) => void reply.end('bytes'));
	const path = `/v1/sandboxes/${demo.id}/files/`;
	for (const [name, url] of [
		['/etc/hosts', 'etc/hosts'],
		['a b/ü?#%2F\n', 'root/a%20b/%C3%BC%3F%23%252F%0A'],
		['/', ''],
	] as const) {
		await sandbox.files.read(name);
		assert.equal(server.asked.at(-1)?.url, path + url);
	}
	await sandbox.files.read('/x', { start: 2, end: 5 });
	assert.equal(server.asked.at(-1)?.headers.range, 'bytes=2-4');
	await server[Symbol.asyncDispose]();
});

test('upload takes a file or bytes, in either order', async () => {
	const { server, sandbox } = await sandboxOf((reply) => void reply.writeHead(201).end());
	await writeFile(join(scratch, 'x.csv'), 'of a file');
	await sandbox.upload(join(scratch, 'x.csv'), '/x');
	await sandbox.upload(Buffer.from('of bytes'), '/y');
	await sandbox.upload('data.csv', Buffer.from('the path first'));
	assert.deepEqual(server.asked.slice(1).map(({ method, url, body }) => [method, url?.split('/files/')[1], body]), [
		['PUT', 'x', 'of a file'],
		['PUT', 'y', 'of bytes'],
		['PUT', 'root/data.csv', 'the path first'],
	]);
	await assert.rejects(sandbox.upload(join(scratch, 'none'), '/x'), { code: 'ENOENT' });
	await server[Symbol.asyncDispose]();
});

test("an error of a caller's own source is the caller's", async () => {
	const { server, sandbox } = await sandboxOf((reply) => void reply.end());
	async function* source() {
		yield Buffer.from('x');
		throw new RangeError('mine');
	}
	await assert.rejects(sandbox.files.write('/x', source()), RangeError);
	await server[Symbol.asyncDispose]();
});

test('a merge with conflicts is a report, another conflict an error', async () => {
	const { server, sandbox } = await sandboxOf(json({ merged: false, report: 'C /x\n', error: 'conflicts' }, 409));
	assert.deepEqual(await sandbox.mergeFiles(['a']), { merged: false, report: 'C /x\n' });
	assert.deepEqual(JSON.parse(server.asked.at(-1)?.body ?? ''), { files: ['a'] });
	await server[Symbol.asyncDispose]();
	const busy = await sandboxOf(json({ error: 'it is busy', code: 'EBUSY' }, 409));
	await assert.rejects(busy.sandbox.mergeFiles(['a']), ConflictError);
	await busy.server[Symbol.asyncDispose]();
});

test('a key and a trace context are sent, the key also from the environment', async () => {
	await using server = await Scripted.start(json({ sandboxes: [] }));
	await new Client({ host: server.host, apiKey: 'a', traceparent: '00-1-2-01' }).list();
	process.env['PODFLARE_API_KEY'] = 'b';
	await new Client({ host: server.host }).list();
	process.env['PFFS_API_KEY'] = 'c';
	await new Client({ host: server.host }).list();
	assert.deepEqual(server.asked.map(({ headers }) => headers.authorization), ['Bearer a', 'Bearer b', 'Bearer c']);
	assert.equal(server.asked[0]?.headers['traceparent'], '00-1-2-01');
});

test('connections are used again', async () => {
	await using server = await Scripted.start(json({ sandboxes: [] }));
	const client = new Client({ host: server.host });
	for (let i = 0; i < 5; i++) await client.list();
	assert.equal(server.connections, 1);
});

test('who aborts does not wait, before, during and after the headers', async () => {
	let seen = () => {};
	const { server, sandbox } = await sandboxOf((reply, asked) => {
		if (asked.body.includes('quiet')) return seen();
		reply.write('{"type":"stdout","data":"x","seq":0,"ts":1}\n');
	});
	const reason = new Error('enough');
	await assert.rejects(sandbox.runCode('', { signal: AbortSignal.abort(reason) }), reason);

	const first = new AbortController();
	seen = () => first.abort(reason);
	await assert.rejects(sandbox.runCode('quiet', { signal: first.signal }), reason);

	const second = new AbortController();
	await assert.rejects(async () => {
		for await (const _ of sandbox.runCodeStream('', { signal: second.signal })) second.abort(reason);
	}, reason);
	await server[Symbol.asyncDispose]();
});

test('who leaves a stream closes its connection', async () => {
	let closed: Promise<unknown> | undefined;
	const { server, sandbox } = await sandboxOf((reply) => {
		closed = once(reply, 'close');
		reply.write('{"type":"stdout","data":"x","seq":0,"ts":1}\n');
	});
	for await (const _ of sandbox.runCodeStream('')) break;
	await closed;
	await server[Symbol.asyncDispose]();
});

test('a Unix socket: by its path, by unix:, by the mount, and the only one that runs', async () => {
	const socket = join(scratch, `${process.pid}.sock`);
	await using server = await Scripted.start(json({ sandboxes: [] }), socket);
	await writeFile(join(scratch, 'host'), `engine kvm\napi ${socket}\n`);
	await writeFile(join(scratch, 'vmctl.sock'), '');
	await writeFile(join(scratch, `${2 ** 22 + 1}.sock`), ''); // No process has this number.
	for (const host of [socket, `unix:${socket}`, `unix://${socket}`, scratch, undefined]) {
		const client = new Client({ host });
		assert.equal(client.host, `unix:${socket}`);
		assert.deepEqual(await client.list(), []);
	}
	assert.equal(server.asked.length, 5);
});

test('where there are several, one has to be said', async () => {
	for (const pid of [process.pid, process.ppid]) await writeFile(join(scratch, `${pid}.sock`), '');
	assert.throws(() => new Client(), { name: 'PffsError', message: /several.*\.sock, .*\.sock/ });
	process.env['PFFS_API'] = '/x/y.sock';
	assert.equal(new Client().host, 'unix:/x/y.sock');
	process.env['PODFLARE_HOST'] = 'http://c:1';
	assert.equal(new Client().host, 'http://c:1');
	process.env['PODFLARE_HOSTD_URL'] = 'https://b/';
	assert.equal(new Client().host, 'https://b');
	process.env['PFFS_HOST'] = 'a:7070';
	assert.equal(new Client().host, 'http://a:7070');
	assert.equal(new Client({ host: 'http://[::1]:7' }).host, 'http://[::1]:7');
});

test('without anything it is port 7070 of this machine', () => {
	assert.equal(new Client().host, 'http://127.0.0.1:7070');
	assert.throws(() => new Client({ host: 'ftp://x' }), { name: 'PffsError', message: /neither http nor https/ });
	assert.throws(() => new Client({ host: scratch }), { name: 'PffsError', message: /not a mount/ });
});

test('sandboxes of one host share a client, and bring their own', async () => {
	await using server = await Scripted.start(json(demo));
	const a = await Sandbox.create({ host: server.host });
	const b = await Sandbox.create({ host: server.host });
	assert.equal(a.client, b.client);
	const client = new Client({ host: server.host });
	assert.equal((await Sandbox.create({ client })).client, client);
});

test('close: once, not at all for what was merged, and at the end of `await using`', async () => {
	const { server, sandbox } = await sandboxOf((reply) => void reply.writeHead(204).end());
	const fork = new Sandbox(sandbox.client, { ...sandbox.info, id: 'sbx_fork' });
	await sandbox.mergeInto(fork);
	await fork.close();
	{
		await using scoped = sandbox;
		assert(scoped);
	}
	await sandbox.close();
	assert.deepEqual(
		server.asked.slice(1).map(({ method, url }) => `${method} ${url}`),
		[`POST /v1/sandboxes/${demo.id}/merge_into/sbx_fork`, `DELETE /v1/sandboxes/${demo.id}`],
	);
	await server[Symbol.asyncDispose]();
});

test('a terminal: data in order, a promise of onData is waited for, the exit code', async () => {
	const show = (data: string) => ({ type: 'pty_data', data_b64: Buffer.from(data).toString('base64') });
	const events = [{ type: 'pty_ready', session_id: 't/1' }, show('a'), { type: 'new' }, show('b'), { type: 'pty_exit', data: 4 }];
	const { server, sandbox } = await sandboxOf(async (reply, asked) => {
		if (asked.url?.endsWith('/pty')) {
			await inPieces(reply, Buffer.from(events.map((event) => `${JSON.stringify(event)}\n`).join('')), 10);
			reply.end();
		} else reply.writeHead(204).end();
	});
	const seen: string[] = [];
	const pty = await sandbox.pty.create({
		cmd: 'bash',
		env: { A_b: '1' },
		onData: async (data) => {
			await new Promise((resolve) => setTimeout(resolve, 5));
			seen.push(data.toString());
		},
		onExit: (code) => seen.push(`exit ${code}`),
	});
	assert.equal(pty.id, 't/1');
	assert.equal(await pty.wait(), 4);
	assert.deepEqual(seen, ['a', 'b', 'exit 4']);
	assert.deepEqual(JSON.parse(server.asked[1]?.body ?? ''), { shellCmd: 'bash', cols: 80, rows: 24, env: [['A_b', '1']] });
	await pty.sendInput('ü');
	await pty.sendInput(Buffer.from([3]));
	await pty.resize({ cols: 100, rows: 30 });
	assert.deepEqual(server.asked.slice(2).map(({ url, body }) => [url?.split('/pty/')[1], body]), [
		['t%2F1/input', '{"data_b64":"w7w="}'],
		['t%2F1/input', '{"data_b64":"Aw=="}'],
		['t%2F1/resize', '{"cols":100,"rows":30}'],
	]);
	await server[Symbol.asyncDispose]();
});

test('a terminal that cannot begin, that breaks off, that nobody shows any more', async () => {
	let said = '{"type":"pty_error","message":"no such program"}\n';
	const { server, sandbox } = await sandboxOf((reply) => void reply.write(said, () => !said.includes('stays') && reply.end()));
	await assert.rejects(sandbox.pty.create({ cmd: ['x'] }), { name: 'SandboxError', message: 'no such program' });
	said = '{"type":"pty_ready","session_id":"t"}\n';
	await assert.rejects((await sandbox.pty.create({ cmd: ['x'] })).wait(), ConnectionError);
	said = '{"type":"pty_ready","session_id":"stays"}\n';
	const pty = await sandbox.pty.create({ cmd: ['x'] });
	await assert.rejects(pty.wait({ signal: AbortSignal.timeout(10) }), { name: 'TimeoutError' });
	pty.close();
	await assert.rejects(pty.wait(), ConnectionError);
	await server[Symbol.asyncDispose]();
});
