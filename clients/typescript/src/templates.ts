import type { Client } from './client.js';
import type { Sandbox } from './sandbox.js';
import type { CallOptions, TemplateInfo } from './types.js';

/** What sandboxes are made of. */
export class Templates {
	readonly #client: Client;

	constructor(client: Client) {
		this.#client = client;
	}

	async list(options: CallOptions = {}): Promise<TemplateInfo[]> {
		const { templates } = await this.#client.http.json<{ templates: TemplateInfo[] }>('/v1/templates', options);
		return templates;
	}

	/** With its `info` and `packages`. */
	get(name: string, options: CallOptions = {}): Promise<TemplateInfo> {
		return this.#client.http.json(pathOf(name), options);
	}

	/** Makes a sandbox a template: it becomes one, and is none of the sandboxes any more. */
	create(sandbox: Sandbox | string, name: string, options: CallOptions = {}): Promise<TemplateInfo> {
		const id = typeof sandbox === 'string' ? sandbox : sandbox.id;
		return this.#client.http.json('/v1/templates', { ...options, method: 'POST', json: { sandbox: id, name } });
	}

	/** Sandboxes are made of it from now on when no template is named. */
	setDefault(name: string, options: CallOptions = {}): Promise<TemplateInfo> {
		return this.#client.http.json(pathOf(name), { ...options, method: 'PATCH', json: { default: true } });
	}

	/** One that was made of a sandbox goes; what was made of it stays. */
	async remove(name: string, options: CallOptions = {}): Promise<void> {
		await this.#client.http.bytes(pathOf(name), { ...options, method: 'DELETE' });
	}
}

function pathOf(name: string): string {
	return `/v1/templates/${encodeURIComponent(name)}`;
}
