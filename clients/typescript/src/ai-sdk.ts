/**
 * Running code as a tool of the `ai` package: the model writes Python or bash, a sandbox that is
 * made for the first call runs it, and output, names of files and figures go back to the model.
 */
import { jsonSchema, type Tool, tool } from 'ai';

import { Sandbox, type SandboxOptions } from './sandbox.js';
import type { Language, Run } from './types.js';

export interface RunCodeOptions extends SandboxOptions {
	/** Run in this sandbox, which close() leaves alone. */
	sandbox?: Sandbox | undefined;
	/** What the model is told that the tool does. */
	description?: string | undefined;
	/** Seconds that one call may take. */
	callTimeoutSeconds?: number | undefined;
	/** How many characters of either stream the model is given at most: the last ones. */
	maxOutput?: number | undefined;
}

export interface RunCodeInput {
	code: string;
	language?: Language | undefined;
}

export interface RunCodeOutput {
	stdout: string;
	stderr: string;
	exitCode: number | null;
	timedOut: boolean;
	/** What the run made or modified, as paths in the sandbox. */
	files: string[];
	/** In base64. */
	figures: { mediaType: string; data: string }[];
}

type RunCodeTool = Tool<RunCodeInput, RunCodeOutput>;

export interface RunCode {
	tool: RunCodeTool & { execute: NonNullable<RunCodeTool['execute']> };
	/** Destroys the sandbox, if one was made; another call makes another. */
	close: () => Promise<void>;
}

const defaultDescription =
	'Run code in a sandbox: a Linux machine of your own. Python keeps its variables, imports and files ' +
	'from one call to the next, bash begins afresh in the same files. Print what you want to see. ' +
	'Figures of matplotlib are shown to you.';

const inputSchema = jsonSchema<RunCodeInput>(
	{
		type: 'object',
		properties: {
			code: { type: 'string', description: 'The program to run.' },
			language: { type: 'string', enum: ['python', 'bash'], description: 'What it is written in; python by default.' },
		},
		required: ['code'],
		additionalProperties: false,
	},
	{
		validate: (value) =>
			isInput(value)
				? { success: true, value }
				: { success: false, error: new TypeError('code must be a string, language python or bash') },
	},
);

/** pffsRunCode() - a tool for generateText() and streamText(), and what ends its sandbox. */
export function pffsRunCode(options: RunCodeOptions = {}): RunCode {
	const { sandbox, description = defaultDescription, callTimeoutSeconds, maxOutput = 20_000, ...creation } = options;
	let made: Promise<Sandbox> | undefined;

	// Calls of one step come at once; all of them are to find one sandbox.
	const ready = () =>
		(made ??= Sandbox.create(creation).catch((error: unknown) => {
			made = undefined;
			throw error;
		}));

	return {
		tool: tool({
			description,
			inputSchema,
			execute: async (input, { abortSignal }): Promise<RunCodeOutput> => {
				const run = await runIn(sandbox ?? (await ready()), input, callTimeoutSeconds, abortSignal);
				return outputOf(run);
			},
			toModelOutput: ({ output }) => ({ type: 'content', value: contentOf(output, maxOutput) }),
		}),
		close: async () => {
			const ending = made;
			made = undefined;
			await (await ending)?.close();
		},
	};
}

/** The same under Podflare's name and in its shape: the tool itself, which has a close(). */
export function podflareRunCode(options: RunCodeOptions = {}): RunCode['tool'] & Pick<RunCode, 'close'> {
	const { tool: made, close } = pffsRunCode(options);
	return { ...made, close };
}

/** A call that is aborted ends its run, too: nobody will ask for what comes of it. */
async function runIn(
	sandbox: Sandbox,
	{ code, language }: RunCodeInput,
	timeoutSeconds: number | undefined,
	signal: AbortSignal | undefined,
): Promise<Run> {
	signal?.throwIfAborted();
	const { number } = await sandbox.runs.start(code, { language, timeoutSeconds });
	try {
		return await sandbox.runs.get(number, { wait: true, figures: true, signal });
	} catch (error) {
		if (signal?.aborted) await sandbox.runs.stop(number, 'interrupt').catch(() => {});
		throw error;
	}
}

function outputOf(run: Run): RunCodeOutput {
	return {
		stdout: run.stdout,
		stderr: run.stderr,
		exitCode: run.exitCode,
		timedOut: run.timedOut,
		files: run.files.map((file) => file.path),
		// Those that are too many for the answer have none.
		figures: run.figures.flatMap(({ mediaType, data }) => (data === undefined ? [] : [{ mediaType, data }])),
	};
}

type Content = Extract<
	Awaited<ReturnType<NonNullable<RunCodeTool['toModelOutput']>>>,
	{ type: 'content' }
>['value'];

function contentOf(output: RunCodeOutput, limit: number): Content {
	const said = [`stdout:\n${tail(output.stdout, limit)}`, `stderr:\n${tail(output.stderr, limit)}`];
	said.push(`exit_code: ${output.exitCode}${output.timedOut ? ' (it took too long and was ended)' : ''}`);
	if (output.files.length > 0) said.push(`files:\n${tail(output.files.join('\n'), limit)}`);
	return [
		{ type: 'text', text: said.join('\n') },
		...output.figures.map(({ mediaType, data }) => ({
			type: 'file' as const,
			mediaType,
			data: { type: 'data' as const, data },
		})),
	];
}

function tail(text: string, limit: number): string {
	if (text.length <= limit) return text;
	return `(${text.length - limit} characters before this are left out)\n${text.slice(-limit)}`;
}

function isInput(value: unknown): value is RunCodeInput {
	if (typeof value !== 'object' || value === null) return false;
	const { code, language } = value as Record<string, unknown>;
	return typeof code === 'string' && (language === undefined || language === 'python' || language === 'bash');
}
