/**
 * Lines and events out of a stream of bytes, whose pieces end anywhere: in a line, in a
 * character.
 */

/**
 * lines() - each line without its end; the last one may lack it.
 *
 * A line is decoded when it is complete, so a character is never cut, and the pieces of a long
 * one are joined once.
 */
export async function* lines(source: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
	let pieces: Uint8Array[] = [];
	for await (const chunk of source) {
		let start = 0;
		for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
			pieces.push(chunk.subarray(start, end));
			yield text(pieces);
			pieces = [];
			start = end + 1;
		}
		if (start < chunk.length) pieces.push(chunk.subarray(start));
	}
	if (pieces.length > 0) yield text(pieces);
}

function text(pieces: Uint8Array[]): string {
	const line = Buffer.concat(pieces).toString('utf8');
	return line.endsWith('\r') ? line.slice(0, -1) : line;
}

/** objects() - what each line of NDJSON says; empty lines say nothing. */
export async function* objects(source: AsyncIterable<Uint8Array>): AsyncGenerator<unknown, void, undefined> {
	for await (const line of lines(source)) {
		if (line !== '') yield JSON.parse(line) as unknown;
	}
}

/** One Server-Sent Event; `id` is that of the newest event that had one. */
export interface ServerEvent {
	id: string;
	event: string;
	data: string;
}

/**
 * serverEvents() - the events of a text/event-stream (WHATWG HTML, 9.2.6; lines end in LF or
 * CRLF). One that the stream's end cuts off is none.
 */
export async function* serverEvents(
	source: AsyncIterable<Uint8Array>,
): AsyncGenerator<ServerEvent, void, undefined> {
	let id = '';
	let event = '';
	let data: string[] = [];
	for await (const line of lines(source)) {
		if (line === '') {
			if (data.length > 0) yield { id, event: event || 'message', data: data.join('\n') };
			event = '';
			data = [];
			continue;
		}
		const [name, value] = field(line);
		if (name === 'data') data.push(value);
		else if (name === 'event') event = value;
		else if (name === 'id') id = value;
	}
}

/* A line that begins with a colon is a comment: a field without a name. */
function field(line: string): [string, string] {
	const colon = line.indexOf(':');
	if (colon < 0) return [line, ''];
	const value = line.slice(colon + 1);
	return [line.slice(0, colon), value.startsWith(' ') ? value.slice(1) : value];
}
