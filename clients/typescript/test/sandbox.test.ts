/** The whole surface, with a real server: what is done here is seen in its mount. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Client, ConflictError, InvalidError, NotFoundError, type Run, Sandbox, type SandboxEvent } from 'pffs';

const { PFFS_TEST_HTTP: host, PFFS_TEST_API: api, PFFS_TEST_MOUNT: mount } = process.env;
if (!host || !api || !mount) throw new Error('run this by tests/doors/typescript.t');

const client = new Client({ host });
let sandbox: Sandbox;
let scratch: string;

before(async () => {
	scratch = await mkdtemp(join(tmpdir(), 'pffs-ts-'));
	sandbox = await client.create({ name: 'ts-demo', execTimeoutSeconds: 300 });
});

after(async () => {
	for (const each of await client.list()) if (each.name.startsWith('ts-')) await each.close({ forks: 'remove' });
	await rm(scratch, { recursive: true });
});

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
	const items: T[] = [];
	for await (const item of source) items.push(item);
	return items;
}

async function textOf(source: AsyncIterable<Buffer>): Promise<string> {
	return Buffer.concat(await all(source)).toString('utf8');
}

test('a sandbox is ready, is a directory of the mount, and is found again', async () => {
	assert.match(sandbox.id, /^sbx_[0-9a-f]{32}$/);
	assert.equal(sandbox.info.state, 'ready');
	assert.equal(sandbox.info.config.execTimeoutSeconds, 300);
	assert((await readdir(mount)).includes('ts-demo'));
	assert.equal((await Sandbox.get('ts-demo', { host })).id, sandbox.id);
	assert.equal((await client.get(sandbox.id)).name, 'ts-demo');
	assert((await Sandbox.list({ host })).some(({ id }) => id === sandbox.id));
});

test('the server is reached by its socket, and by the mount', async () => {
	for (const other of [api, `unix:${api}`, mount]) {
		const reached = new Client({ host: other });
		assert(await reached.healthy());
		assert.equal((await reached.get('ts-demo')).id, sandbox.id);
	}
	assert.equal(typeof (await client.hostInfo())['version'], 'string');
});

test('python keeps its state, bash is fresh, a failure is a result', async () => {
	assert.deepEqual((await sandbox.runCode('x = 42')).stdout, '');
	const said = await sandbox.runCode('import sys\nprint(x * 2)\nprint("größer 你好 🙂")\nprint("e", file=sys.stderr)');
	assert.deepEqual([said.stdout, said.stderr, said.exitCode, said.ok], ['84\ngrößer 你好 🙂', 'e', 0, true]);
	assert.equal((await sandbox.runCode('echo $((6 * 7))', 'bash')).stdout, '42');
	assert.equal((await sandbox.runCode('exit 7', { language: 'bash' })).exitCode, 7);
	const failed = await sandbox.runCode('1 / 0');
	assert.equal(failed.ok, false);
	assert.match(failed.stderr, /ZeroDivisionError/);
	assert.equal((await sandbox.runCode('print(x)')).stdout, '42');
});

test('stdin and a time limit of one run', async () => {
	assert.equal((await sandbox.runCode('print(input()[::-1])', { stdin: 'abc\n' })).stdout, 'cba');
	const late = await sandbox.run('import time; time.sleep(600)', { timeoutSeconds: 1 });
	assert.deepEqual([late.exitCode, late.timedOut, late.state], [124, true, 'ended']);
});

test('stdin as it comes', async () => {
	const { number } = await sandbox.runs.start('import sys\nfor line in sys.stdin: print(line.strip() + "!", flush=True)', { stdin: true });
	const output = sandbox.runs.output(number, 'stdout', { follow: true });
	async function* keys() {
		yield Buffer.from('one\n');
		assert.equal((await output.next()).value?.toString(), 'one!\n');
		yield Buffer.from('two\n');
	}
	await sandbox.runs.stdin(number, keys());
	assert.equal(await textOf(output), 'two!\n');
	assert.equal((await sandbox.runs.get(number, { wait: true })).exitCode, 0);
});

test('lines come while the run goes on', async () => {
	const code = 'import os, time\nprint("waits", flush=True)\nwhile not os.path.exists("/root/go"): time.sleep(0.05)\nprint("went")';
	const seen: (string | number)[] = [];
	for await (const event of sandbox.runCodeStream(code)) {
		seen.push(event.data);
		if (event.data === 'waits') await sandbox.files.write('go', '');
	}
	assert.deepEqual(seen, ['waits', 'went', 0]);
	await sandbox.files.remove('go');
});

test('who leaves the loop leaves the run, which is in runs and can be stopped', async () => {
	await sandbox.runCode('kept = 42');
	for await (const _ of sandbox.runCodeStream('import time\nprint("on", flush=True)\ntime.sleep(600)')) break;
	const { number, state } = await sandbox.runs.get('last');
	assert.equal(state, 'running');
	await sandbox.runs.stop(number, 'interrupt');
	const run = await sandbox.runs.get(number, { wait: true });
	assert.equal(run.state, 'ended');
	assert.match(run.stderr, /KeyboardInterrupt/);
	await assert.rejects(sandbox.runs.stop(number), ConflictError);
	assert.equal((await sandbox.runCode('print(kept)')).stdout, '42');
});

test('a run with all that became of it', async () => {
	const run: Run = await sandbox.run('open("/root/made.txt", "w").write("by a run")\nprint("made")');
	assert.deepEqual([run.exitCode, run.stdout, run.stderr, run.timedOut, run.outOfMemory], [0, 'made\n', '', false, false]);
	assert.deepEqual(run.changes, [{ change: 'A', path: '/root/made.txt' }]);
	assert.deepEqual(run.files.map(({ path }) => path), ['/root/made.txt']);
	assert.deepEqual(run.figures, []);
	const result = await sandbox.runCode('open("/root/made.txt", "a").write("!")');
	const details = await result.details();
	assert.deepEqual([details.number, details.changes], [result.run, [{ change: 'M', path: '/root/made.txt' }]]);
	const kept = (await sandbox.runs.list()).map(({ number }) => number);
	assert(kept.includes(run.number) && kept.includes(details.number));
	assert.equal(await textOf(sandbox.runs.output(run.number, 'stdout')), 'made\n');
	assert.match(await textOf(sandbox.runs.output(run.number, 'code')), /by a run/);
	await assert.rejects(sandbox.runs.get(1_000_000), NotFoundError);
});

test('a run in the background, and its output as it comes', async () => {
	const { number } = await sandbox.runs.start('import time\nfor i in range(3): print(i, flush=True); time.sleep(0.1)');
	assert.equal(await textOf(sandbox.runs.output(number, 'output', { follow: true })), '0\n1\n2\n');
	const events = await sandbox.replay();
	assert.deepEqual(events.slice(-4).map(({ type, data }) => [type, data]), [
		['stdout', '0'],
		['stdout', '1'],
		['stdout', '2'],
		['exit', 0],
	]);
});

test('who aborts does not wait for the run', async () => {
	const aborting = new AbortController();
	const running = sandbox.runCode('import time; time.sleep(600)', { signal: aborting.signal });
	while ((await sandbox.refresh()).state !== 'running') await new Promise((resolve) => setTimeout(resolve, 50));
	aborting.abort();
	await assert.rejects(running, { name: 'AbortError' });
	assert.equal((await sandbox.refresh()).state, 'running');
	await sandbox.interrupt();
	assert.equal((await sandbox.runs.get('last', { wait: true })).state, 'ended');
});

test('files: all bytes, parts, directories, names of all kinds', async () => {
	const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7) % 256));
	await sandbox.files.write('/root/dir/sub/a b#ü?.bin', bytes, { mode: '0600' });
	assert(bytes.equals(await sandbox.files.read('/root/dir/sub/a b#ü?.bin')));
	assert(bytes.equals(await readFile(join(mount, 'ts-demo/fs/root/dir/sub/a b#ü?.bin'))));
	assert(bytes.subarray(5, 10).equals(await sandbox.files.read('dir/sub/a b#ü?.bin', { start: 5, end: 10 })));
	assert(bytes.equals(Buffer.concat(await all(sandbox.files.stream('dir/sub/a b#ü?.bin')))));
	const entry = await sandbox.files.stat('/root/dir/sub/a b#ü?.bin');
	assert.deepEqual([entry.type, entry.size, entry.mode], ['file', bytes.length, '0600']);
	await sandbox.files.mkdir('/root/dir/empty');
	assert.equal(entry.path, '/root/dir/sub/a b#ü?.bin');
	assert.deepEqual((await sandbox.files.list('dir')).map(({ name, type }) => `${type} ${name}`).sort(), [
		'directory empty',
		'directory sub',
	]);
	assert.equal(await sandbox.files.exists('dir'), true);
	await assert.rejects(sandbox.files.remove('dir'), ConflictError);
	await sandbox.files.remove('dir', { recursive: true });
	assert.equal(await sandbox.files.exists('dir'), false);
	await assert.rejects(sandbox.files.readText('/none'), NotFoundError);
});

test('upload and download, and a tree as a tar', async () => {
	const local = join(scratch, 'local.txt');
	await writeFile(local, 'from here\n');
	await sandbox.upload(local, '/root/tree/up.txt');
	await sandbox.upload('data.csv', Buffer.from('a,b\n'));
	assert.equal((await sandbox.runCode('print(open("data.csv").read() + open("/root/tree/up.txt").read(), end="")')).stdout, 'a,b\nfrom here');
	assert.equal((await sandbox.download('/root/data.csv')).toString(), 'a,b\n');
	await sandbox.files.download('/root/tree/up.txt', join(scratch, 'back.txt'));
	assert.equal(await readFile(join(scratch, 'back.txt'), 'utf8'), 'from here\n');

	await sandbox.runCode('ln -s up.txt /root/tree/link', 'bash');
	await sandbox.files.untar('/root/copy', sandbox.files.tar('/root/tree'));
	const found = await sandbox.runCode('cd /root/copy && find . -name link -printf "%l " -o -name up.txt -exec cat {} +', 'bash');
	assert.deepEqual(found.stdout.split(/\s+/).sort(), ['from', 'here', 'up.txt']);
});

test('forks go their own ways; what differs is told; one is merged', async () => {
	await sandbox.runCode('cats = 1\nopen("/root/log", "w").write("parent\\n")');
	const [a, b] = await sandbox.fork(2);
	assert(a && b);
	await Promise.all([
		a.runCode('cats += 1\nopen("/root/of-a", "w").write("a")\nopen("/root/log", "a").write("a\\n")'),
		b.runCode('cats += 10'),
	]);
	assert.deepEqual((await Promise.all([sandbox, a, b].map((each) => each.runCode('print(cats)')))).map(({ stdout }) => stdout), ['1', '2', '11']);
	assert.deepEqual(await sandbox.diff(a), { added: ['/root/of-a'], removed: [], modified: ['/root/log'] });
	assert.deepEqual(await a.changes(['/root']), { added: ['/root/of-a'], removed: [], modified: ['/root/log'] });
	assert.match(await sandbox.diffPatch(a), /^\+a$/m);
	assert.equal(a.info.parent, sandbox.id);

	const { id } = sandbox;
	await sandbox.mergeInto(a);
	await a.close();
	assert.equal((await sandbox.refresh()).id, id);
	assert.equal((await sandbox.runCode('print(cats)')).stdout, '2');
	await assert.rejects(client.get(a.id), NotFoundError);
	await b.close();
});

test('named forks, and a merge of their files', async () => {
	const [one, two] = await sandbox.fork(['ts-one', 'ts-two']);
	assert(one && two);
	assert.deepEqual([one.name, two.name], ['ts-one', 'ts-two']);
	assert.equal((await client.get('ts-demo/forks/ts-two')).id, two.id);
	await one.files.write('/root/merged', 'one\n');
	const merged = await sandbox.mergeFiles(one);
	assert.equal(merged.merged, true);
	assert.equal(await sandbox.files.readText('/root/merged'), 'one\n');

	await two.files.write('/root/merged', 'two\n');
	const refused = await sandbox.mergeFiles([two]);
	assert.equal(refused.merged, false);
	assert.match(refused.report, /^C root\/merged/m);
	assert.equal(await sandbox.files.readText('/root/merged'), 'one\n');
	assert.equal((await sandbox.mergeFiles([two], { favour: 'theirs' })).merged, true);
	assert.equal(await sandbox.files.readText('/root/merged'), 'two\n');
	await Promise.all([one.close(), two.close()]);
});

test('a terminal: keys, size, another who looks, the exit code', async () => {
	let shown = '';
	const waiting = new Set<() => void>();
	const onData = (data: Buffer) => {
		shown += data.toString();
		for (const look of waiting) look();
	};
	const shows = (text: string) =>
		new Promise<void>((resolve) => {
			const look = () => shown.includes(text) && waiting.delete(look) && resolve();
			waiting.add(look);
			look();
		});
	const pty = await sandbox.pty.create({
		cmd: 'stty size; read line; echo "got $line $MARK in $PWD"; stty size; read line; exit 5',
		cols: 100,
		rows: 30,
		env: { MARK: 'm a r k' },
		cwd: '/tmp',
		onData,
	});
	await shows('30 100');
	assert((await sandbox.pty.list()).some(({ ptyId, exitCode }) => ptyId === pty.id && exitCode === null));
	await pty.resize({ cols: 120, rows: 40 });
	await pty.sendInput('héllo\n');
	await shows('got héllo m a r k in /tmp');
	await shows('40 120');
	let seen = '';
	const other = await sandbox.pty.attach(pty.id, { onData: (data) => void (seen += data.toString()) });
	pty.close();
	await other.sendInput(Buffer.from('\n'));
	assert.equal(await other.wait({ signal: AbortSignal.timeout(60_000) }), 5);
	assert.match(seen, /got héllo m a r k/);

	const killed = await sandbox.pty.create({ cmd: ['sleep', '600'] });
	await killed.kill();
	assert.notEqual(await killed.wait(), 0);
});

test('events: those that are kept, and those that come', async () => {
	const kept = await all(sandbox.events({ since: 0, follow: false }));
	assert(kept.some(({ event, sandbox: name }) => event === 'ready' && name === 'ts-demo'));
	const newest = kept.at(-1);
	assert(newest);
	const found: SandboxEvent[] = [];
	const ending = new AbortController();
	const watching = (async () => {
		for await (const event of client.events({ since: newest.seq, signal: ending.signal })) {
			if (event.id === sandbox.id && event.event.startsWith('run_')) found.push(event);
			if (event.event === 'run_ended' && event.id === sandbox.id) break;
		}
	})();
	await sandbox.runCode('1');
	await watching;
	assert.deepEqual(found.map(({ event }) => event), ['run_started', 'run_ended']);
	assert(found.every(({ seq }) => seq > newest.seq));
});

test('frozen and resumed, its memory is as it was', async () => {
	await sandbox.runCode('kept = "in memory"');
	assert.equal((await sandbox.freeze()).state, 'frozen');
	const again = await Sandbox.resume(sandbox.id, { client });
	assert.deepEqual([again.id, again.info.state], [sandbox.id, 'ready']);
	assert.equal((await sandbox.runCode('print(kept)')).stdout, 'in memory');
	assert.equal((await sandbox.resume()).state, 'ready');
});

test('settings, statistics, a new name, a new Python', async () => {
	const info = await sandbox.update({ execTimeoutSeconds: 200, pids: 500, name: 'ts-renamed' });
	assert.deepEqual([info.config.execTimeoutSeconds, info.config.pids, info.name], [200, 500, 'ts-renamed']);
	const stats = await sandbox.stats();
	assert((stats['memoryPrivate'] ?? 0) > 0);
	assert.equal(stats['pidsLimit'], 500);
	await sandbox.runCode('x = 1');
	await sandbox.reset();
	assert.match((await sandbox.runCode('print(x)')).stderr, /NameError/);
	await sandbox.update({ name: 'ts-demo' });
});

test('templates: those that are there, and one of a sandbox', async () => {
	assert((await client.templates.list()).some((template) => template.name === 'default'));
	assert.match((await client.templates.get('default')).packages ?? '', /python3/);
	const source = await client.create({ name: 'ts-source' });
	await source.runCode('prepared = "once"');
	await client.templates.create(source, 'ts-template');
	const made = await client.create({ name: 'ts-made', template: 'ts-template' });
	assert.equal((await made.runCode('print(prepared)')).stdout, 'once');
	await made.close();
	await client.templates.remove('ts-template');
	await assert.rejects(client.templates.get('ts-template'), NotFoundError);
});

test('errors have the sentence and the kind', async () => {
	await assert.rejects(client.get('ts-none'), (error) => error instanceof NotFoundError && error.code === 'ENOENT' && /ts-none/.test(error.message));
	await assert.rejects(client.create({ name: 'ts-demo' }), ConflictError);
	await assert.rejects(client.create({ name: '.bad/name' }), InvalidError);
	await assert.rejects(sandbox.runCode('1', 'perl' as 'bash'), InvalidError);
	await assert.rejects(sandbox.fork(0), InvalidError);
});

test('close keeps the forks, which move to the root; a second one is no error', async () => {
	const parent = await client.create({ name: 'ts-parent' });
	const [fork] = await parent.fork(['ts-child']);
	assert(fork);
	await assert.rejects(parent.close({ forks: 'refuse' }), ConflictError);
	{
		await using scoped = parent;
		assert(scoped);
	}
	assert.equal((await fork.refresh()).path, 'ts-child');
	await fork.close();
	await (await Sandbox.get('ts-demo', { client })).close();
	await sandbox.close();
	assert.deepEqual((await readdir(mount)).filter((name) => name.startsWith('ts-')), []);
});
