import type { Diff, Entry, Run } from './types.js';

/** The server tells paths without their first slash; with it they are what programs in the sandbox say. */
function absolute(path: string): string {
	return path.startsWith('/') ? path : `/${path}`;
}

export function ofDiff({ added, removed, modified }: Diff): Diff {
	return { added: added.map(absolute), removed: removed.map(absolute), modified: modified.map(absolute) };
}

export function ofEntry(entry: Entry): Entry {
	return { ...entry, path: absolute(entry.path) };
}

export function ofRun(run: Run): Run {
	const named = <T extends { path: string }>(list: T[]) => list.map((item) => ({ ...item, path: absolute(item.path) }));
	return { ...run, changes: run.changes && named(run.changes), files: named(run.files ?? []) };
}
