export { Client, type ClientOptions, type EventOptions } from './client.js';
export {
	AuthenticationError,
	ConflictError,
	ConnectionError,
	InvalidError,
	NotFoundError,
	PffsError,
	SandboxError,
} from './errors.js';
export { Files, type WriteOptions } from './files.js';
export type { Bytes } from './http.js';
export { type PtyCallbacks, PtyHandle, PtyNamespace, type PtyOptions } from './pty.js';
export { type RunNumber, type RunOptions, Runs, type StartOptions } from './runs.js';
export {
	type CloseOptions,
	type ConnectOptions,
	ExecResult,
	Sandbox,
	type SandboxOptions,
} from './sandbox.js';
export { Templates } from './templates.js';
export type * from './types.js';
