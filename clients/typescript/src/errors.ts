/** Whatever this package throws by itself; aborting a signal throws the signal's reason. */
export class PffsError extends Error {
	override name = 'PffsError';
}

/** The server could not be reached, or went away in the middle of an answer. */
export class ConnectionError extends PffsError {
	override name = 'ConnectionError';
}

/** The server's refusal: `message` is its sentence, `code` an errno's name such as `ENOENT`. */
export class SandboxError extends PffsError {
	override name = 'SandboxError';
	readonly status: number;
	readonly code: string;
	/** All that the server said. */
	readonly answer: unknown;

	constructor(message: string, status: number, code: string, answer?: unknown) {
		super(message);
		this.status = status;
		this.code = code;
		this.answer = answer;
	}
}

/** 400: a value that cannot be. */
export class InvalidError extends SandboxError {
	override name = 'InvalidError';
}

/** 401: no key, or one that the server does not know. */
export class AuthenticationError extends SandboxError {
	override name = 'AuthenticationError';
}

/** 404: no such sandbox, run, file, terminal or template. */
export class NotFoundError extends SandboxError {
	override name = 'NotFoundError';
}

/** 409: not now, or not beside what is there. */
export class ConflictError extends SandboxError {
	override name = 'ConflictError';
}

const byStatus = new Map<number, typeof SandboxError>([
	[400, InvalidError],
	[401, AuthenticationError],
	[404, NotFoundError],
	[409, ConflictError],
]);

/** The error that an answer's status and body are; a body that is no JSON is the sentence itself. */
export function errorOf(status: number, body: string): SandboxError {
	const kind = byStatus.get(status) ?? SandboxError;
	let sentence = body.trim();
	let code = '';
	const said = parsed(body);
	if (typeof said?.error === 'string') sentence = said.error;
	if (typeof said?.code === 'string') code = said.code;
	return new kind(sentence || `the server answered ${status}`, status, code, said);
}

/** Something between the server and us may have answered. */
function parsed(body: string): { error?: unknown; code?: unknown } | null {
	try {
		return JSON.parse(body) as ReturnType<typeof parsed>;
	} catch {
		return null;
	}
}
