/** The tool in the hands of the real `ai` package, with a model that says what it is told to say. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { generateText, isStepCount, streamText, type ToolSet, tool } from 'ai';
import { MockLanguageModelV4, simulateReadableStream } from 'ai/test';
import { pffsRunCode, podflareRunCode, type RunCodeInput, type RunCodeOutput } from 'pffs/ai-sdk';
import { Client } from 'pffs';

import { demo, Scripted } from './scripted.ts';

type Model = ConstructorParameters<typeof MockLanguageModelV4>[0] & object;
type Reply = Extract<NonNullable<Model['doGenerate']>, unknown[]>[number];

const usage: Reply['usage'] = {
	inputTokens: { total: 1, noCache: 1, cacheRead: undefined, cacheWrite: undefined },
	outputTokens: { total: 1, text: 1, reasoning: undefined },
};

/** A model that calls the tool once for each input, all in one step, and then says "done". */
function modelCalling(...inputs: object[]): MockLanguageModelV4 {
	return new MockLanguageModelV4({
		doGenerate: [
			{
				content: inputs.map((input, i) => ({
					type: 'tool-call',
					toolCallId: `call-${i}`,
					toolName: 'run',
					input: JSON.stringify(input),
				})),
				finishReason: { unified: 'tool-calls', raw: undefined },
				usage,
				warnings: [],
			},
			{
				content: [{ type: 'text', text: 'done' }],
				finishReason: { unified: 'stop', raw: undefined },
				usage,
				warnings: [],
			},
		],
	});
}

/** What the model was given for its calls. */
function given(model: MockLanguageModelV4) {
	const [message] = model.doGenerateCalls[1]?.prompt.filter(({ role }) => role === 'tool') ?? [];
	assert(message?.role === 'tool');
	// As it would be sent: without what is undefined.
	const content = JSON.parse(JSON.stringify(message.content)) as typeof message.content;
	return content.map((part) => {
		assert(part.type === 'tool-result');
		return part.output;
	});
}

async function ask(run: ToolSet[string], ...inputs: object[]): Promise<MockLanguageModelV4> {
	const model = modelCalling(...inputs);
	const { text } = await generateText({ model, prompt: 'go', tools: { run }, stopWhen: isStepCount(3) });
	assert.equal(text, 'done');
	return model;
}

const ended = {
	number: 1,
	state: 'ended',
	exit_code: 0,
	timed_out: false,
	stdout: 'said\n',
	stderr: '',
	changes: [{ change: 'A', path: '/root/plot.csv' }],
	figures: [{ number: 1, media_type: 'image/png', size: 3, url: '/v1/f', data: 'aGkh' }],
	files: [{ path: '/root/plot.csv', url: '/v1/p' }],
};

/** A server on which each run ends as `ended`. */
function scripted(run: object = ended): Promise<Scripted> {
	return Scripted.start((reply, { method, url }) => {
		if (method === 'DELETE') reply.writeHead(204).end();
		else if (url === '/v1/sandboxes') reply.end(JSON.stringify(demo));
		else reply.end(JSON.stringify(run));
	});
}

test('the model is told of the tool, its call runs, text, files and pictures go back', async () => {
	await using server = await scripted();
	const { tool: run, close } = pffsRunCode({ host: server.host, template: 'python-datasci', callTimeoutSeconds: 9 });
	const model = await ask(run, { code: 'plot()' });
	const [told] = model.doGenerateCalls[0]?.tools ?? [];
	assert(told?.type === 'function');
	assert.match(told.description ?? '', /sandbox/);
	assert.deepEqual(told.inputSchema.required, ['code']);
	assert.deepEqual(given(model), [
		{
			type: 'content',
			value: [
				{ type: 'text', text: 'stdout:\nsaid\n\nstderr:\n\nexit_code: 0\nfiles:\n/root/plot.csv' },
				{ type: 'file', mediaType: 'image/png', data: { type: 'data', data: 'aGkh' } },
			],
		},
	]);
	await close();
	const calls = server.asked.map(({ method, url, body }) => [method, url?.replace(demo.id, 'ID'), body]);
	assert.deepEqual(calls, [
		['POST', '/v1/sandboxes', '{"template":"python-datasci"}'],
		['POST', '/v1/sandboxes/ID/runs', '{"code":"plot()","timeout_seconds":9,"wait":false}'],
		['GET', '/v1/sandboxes/ID/runs/1?wait=true&figures=data', ''],
		['DELETE', '/v1/sandboxes/ID', ''],
	]);
});

test('calls of one step share one sandbox, which is made when it is needed', async () => {
	await using server = await scripted();
	const { tool: run, close } = pffsRunCode({ host: server.host });
	await close();
	assert.equal(server.asked.length, 0);
	await ask(run, { code: '1' }, { code: '2', language: 'bash' }, { code: '3' });
	assert.equal(server.asked.filter(({ url }) => url === '/v1/sandboxes').length, 1);
});

test('a sandbox of the caller is used and left alone', async () => {
	await using server = await scripted();
	const sandbox = await new Client({ host: server.host }).create();
	const { tool: run, close } = pffsRunCode({ sandbox });
	await ask(run, { code: '1' });
	await close();
	assert.equal(server.asked.filter(({ url }) => url === '/v1/sandboxes').length, 1);
	assert(!server.asked.some(({ method }) => method === 'DELETE'));
});

test('what is too long for a model is its end', async () => {
	await using server = await scripted({ ...ended, stdout: `${'a'.repeat(50)}end`, figures: [], files: [], timed_out: true });
	const model = await ask(pffsRunCode({ host: server.host, maxOutput: 10 }).tool, { code: '1' });
	const [output] = given(model);
	assert(output?.type === 'content' && output.value[0]?.type === 'text');
	assert.match(output.value[0].text, /^stdout:\n\(43 characters before this are left out\)\na{7}end\n[^]*took too long/);
});

test('input that is none does not run', async () => {
	await using server = await scripted();
	const model = await ask(pffsRunCode({ host: server.host }).tool, { code: 1 }, { code: 'x', language: 'perl' });
	assert.deepEqual(given(model).map(({ type }) => type), ['error-text', 'error-text']);
	assert.equal(server.asked.length, 0);
});

test('a sandbox that cannot be made is an error for the model, and the next call tries again', async () => {
	await using server = await Scripted.start((reply) => void reply.writeHead(503).end('{"error":"no room","code":"ENOMEM"}'));
	const { tool: run } = pffsRunCode({ host: server.host });
	for (const wanted of [1, 2]) {
		const [output] = given(await ask(run, { code: '1' }));
		assert.deepEqual(output, { type: 'error-text', value: 'SandboxError: no room' });
		assert.equal(server.asked.length, wanted);
	}
});

test('who aborts the generation interrupts the run', async () => {
	const aborting = new AbortController();
	await using server = await Scripted.start((reply, { url }) => {
		if (url?.endsWith('/stop')) reply.writeHead(204).end();
		else if (url?.includes('wait=true')) aborting.abort();
		else reply.end(JSON.stringify(url === '/v1/sandboxes' ? demo : { ...ended, state: 'running' }));
	});
	const { execute } = podflareRunCode({ host: server.host });
	const call = { toolCallId: '1', messages: [], abortSignal: aborting.signal, context: {} };
	await assert.rejects(async () => execute({ code: 'while True: pass' }, call), { name: 'AbortError' });
	assert.deepEqual(server.asked.slice(-1).map(({ url, body }) => [url?.split('/runs/')[1], body]), [
		['1/stop', '{"signal":"interrupt"}'],
	]);
});

test("Podflare's shape: description, execute and close, for tool() or as the tool itself", async () => {
	await using server = await scripted();
	const run = podflareRunCode({ host: server.host, description: 'mine' });
	assert.equal(run.description, 'mine');
	assert.deepEqual(given(await ask(run, { code: '1' })), given(await ask(tool(run), { code: '1' })));
	await run.close();
	assert.equal(server.asked.at(-1)?.method, 'DELETE');
});

const http = process.env['PFFS_TEST_HTTP'];

test('with a real sandbox: state stays between calls, bash sees the files', { skip: !http && 'no server' }, async () => {
	const { tool: run, close } = pffsRunCode({ host: http, name: 'ts-ai' });
	const code = (code: string, language?: RunCodeInput['language']) => ({ code, language });
	const model = await ask(
		run,
		code('x = 6\nopen("/root/made.txt", "w").write("by python")\nimport sys\nprint("noted", file=sys.stderr)'),
		code('print(x * 7)'),
		code('cat /root/made.txt; exit 3', 'bash'),
	);
	const texts = given(model).map((output) => {
		assert(output.type === 'content' && output.value[0]?.type === 'text');
		return output.value[0].text;
	});
	assert.deepEqual(texts, [
		'stdout:\n\nstderr:\nnoted\n\nexit_code: 0\nfiles:\n/root/made.txt',
		'stdout:\n42\n\nstderr:\n\nexit_code: 0',
		'stdout:\nby python\nstderr:\n\nexit_code: 3',
	]);
	await close();
	await assert.rejects(new Client({ host: http }).get('ts-ai'), { status: 404 });
});

test('with a real sandbox and streamText: the result is in the stream', { skip: !http && 'no server' }, async () => {
	const { tool: run, close } = pffsRunCode({ host: http, name: 'ts-ai-stream' });
	const model = new MockLanguageModelV4({
		doStream: [
			{
				stream: simulateReadableStream({
					chunks: [
						{ type: 'tool-call', toolCallId: '1', toolName: 'run', input: '{"code":"print(6 * 7)"}' },
						{ type: 'finish', finishReason: { unified: 'tool-calls', raw: undefined }, usage },
					],
				}),
			},
			{
				stream: simulateReadableStream({
					chunks: [
						{ type: 'text-start', id: 't' },
						{ type: 'text-delta', id: 't', delta: 'It is 42.' },
						{ type: 'text-end', id: 't' },
						{ type: 'finish', finishReason: { unified: 'stop', raw: undefined }, usage },
					],
				}),
			},
		],
	});
	const result = streamText({ model, prompt: 'go', tools: { run }, stopWhen: isStepCount(3) });
	assert.equal(await result.text, 'It is 42.');
	const [first] = await result.steps;
	assert.equal((first?.toolResults[0]?.output as RunCodeOutput).stdout, '42\n');
	await close();
});
