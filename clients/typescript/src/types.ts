/** What the server says of things, with its names in camelCase. Times are RFC 3339 in UTC. */

export type Language = 'python' | 'bash';

/** One line of a run's output, or its end, whose `data` is the exit code. */
export type Event =
	| { type: 'stdout' | 'stderr'; data: string; seq: number; ts: number }
	| { type: 'exit'; data: number; seq: number; ts: number };

export type SandboxState = 'starting' | 'ready' | 'running' | 'frozen' | 'dead';

/** What a sandbox may be made with, or changed to. Sizes above those of the machine are taken as the machine's. */
export interface SandboxSettings {
	name?: string | undefined;
	/** Seconds that it may live; `timeoutSeconds` is the same. */
	maxLifetimeSeconds?: number | undefined;
	timeoutSeconds?: number | undefined;
	/** Seconds without a run after which it goes, or is frozen when it is `persistent`. */
	idleTimeoutSeconds?: number | undefined;
	persistent?: boolean | undefined;
	/** What may leave it: `"on"` (or true), `"off"` (or false) or `"allow"`. */
	egress?: boolean | "on" | "off" | "allow" | undefined;
	/** Seconds that one run may take. */
	execTimeoutSeconds?: number | undefined;
	memoryMib?: number | undefined;
	ramMib?: number | undefined;
	diskMib?: number | undefined;
	rootfsGb?: number | undefined;
	vcpus?: number | undefined;
	pids?: number | undefined;
	cpuPercent?: number | undefined;
}

export interface SandboxInfo {
	id: string;
	name: string;
	/** Where it is in the mount: `demo/forks/x`. */
	path: string;
	state: SandboxState;
	/** Why it is dead. */
	reason?: string;
	template: string;
	parent: string | null;
	generation: number;
	created: string;
	/** The number of the newest run, or 0. */
	run: number;
	forks: number;
	egress: boolean;
	config: {
		execTimeoutSeconds: number;
		idleTimeoutSeconds: number;
		maxLifetimeSeconds: number;
		persistent: boolean;
		egress: "on" | "off" | "allow";
		memoryMib: number;
		vcpus: number;
		diskMib: number;
		pids: number;
		cpuPercent: number;
	};
}

/** A file that a run made, modified or deleted. */
export interface Change {
	change: 'A' | 'M' | 'D';
	path: string;
}

export interface Figure {
	number: number;
	mediaType: string;
	size: number;
	url: string;
	/** The picture in base64, where it was asked for. */
	data?: string;
}

export interface RunSummary {
	number: number;
	state: 'writing' | 'queued' | 'running' | 'ended';
	language: string;
	created: string;
	started: string | null;
	ended: string | null;
	exitCode: number | null;
	timedOut: boolean;
	outOfMemory: boolean;
	figures: Figure[];
}

export interface Run extends RunSummary {
	/** At most the newest MiB, see `truncated`. */
	stdout: string;
	stderr: string;
	truncated: boolean;
	/** Null when not known. */
	changes: Change[] | null;
	/** What it made or modified and is a file. */
	files: { path: string; url: string }[];
}

export interface Entry {
	name: string;
	path: string;
	type: 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'device';
	size: number;
	/** Octal, as in `0644`. */
	mode: string;
	uid: number;
	gid: number;
	modified: string;
	target?: string;
}

/** What the other one has and this one has not, the other way round, and what both have, but not alike. */
export interface Diff {
	added: string[];
	removed: string[];
	modified: string[];
}

export interface MergeReport {
	/** False: there are conflicts, which the report lists, and nothing has changed. */
	merged: boolean;
	report: string;
}

export interface PtySessionInfo {
	ptyId: string;
	cmdLabel: string;
	createdAtMs: number;
	exitCode: number | null;
}

/** Something that happened to a sandbox; which fields there are depends on `event`. */
export interface SandboxEvent {
	seq: number;
	time: string;
	event: string;
	/** Its name at that time. */
	sandbox: string;
	id: string;
	[field: string]: unknown;
}

export interface TemplateInfo {
	name: string;
	/** Sandboxes are made of it when none is named. */
	default: boolean;
	made: boolean;
	created: string;
	info?: string;
	packages?: string;
}

export type Stats = Record<string, number>;
export type HostInfo = Record<string, unknown>;

/** What every call that waits takes. */
export interface CallOptions {
	/** Ends the waiting, and with it nothing in the sandbox. */
	signal?: AbortSignal | undefined;
}
