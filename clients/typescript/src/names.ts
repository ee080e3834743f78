/** Names are snake_case on the wire and camelCase here; that is one rule, and no table. */

export function camel(value: unknown): unknown {
	return renamed(value, (name) => name.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase()));
}

export function snake(value: unknown): unknown {
	return renamed(value, (name) => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`));
}

function renamed(value: unknown, rename: (name: string) => string): unknown {
	if (Array.isArray(value)) return value.map((item) => renamed(item, rename));
	if (typeof value !== 'object' || value === null) return value;
	return Object.fromEntries(Object.entries(value).map(([name, item]) => [rename(name), renamed(item, rename)]));
}
