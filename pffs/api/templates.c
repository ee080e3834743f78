/*
 * Templates: what sandboxes are made of.
 */
#include "pffs/core/template.h"

#include "pffs/api/reply.h"
#include "pffs/api/shown.h"
#include "pffs/api/text.h"
#include "pffs/core/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static json_t *show(const struct core *core, size_t index)
{
	const struct templates *t = &core->templates;
	const struct template *template = &t->list[index];

	return json_pack("{s:s, s:b, s:b, s:o}", "name", template->name, "default",
			 t->fallback == index, "made", template->made, "created",
			 shown_time(&template->created));
}

static void list(struct request *r)
{
	json_t *templates = json_array();

	template_look(r->core);
	for (size_t i = 0; i < r->core->templates.count; i++)
		if (templates_has(&r->core->templates, i))
			json_array_append_new(templates, show(r->core, i));
	reply_json(r, MHD_HTTP_OK, json_pack("{s:o}", "templates", templates));
}

/* Return: its index, or -1: it was refused. */
static int find(struct request *r, const char *name)
{
	int index = template_find(r->core, name);

	if (index < 0)
		reply_say(r, ENOENT, "there is no template %.100s", name);
	return index;
}

static void add_text(json_t *to, const struct core *core, size_t index, const char *suffix)
{
	char *text = templates_file(&core->templates, index, suffix);

	json_object_set_new(to, suffix,
			    text_json(text ? text : "", text ? strlen(text) : 0));
	free(text);
}

static void get(struct request *r)
{
	int index = find(r, r->parameters[0]);
	json_t *template;

	if (index < 0)
		return;
	template = show(r->core, (size_t)index);
	add_text(template, r->core, (size_t)index, "info");
	add_text(template, r->core, (size_t)index, "packages");
	reply_json(r, MHD_HTTP_OK, template);
}

struct template_call {
	struct request *r; /* NULL: nobody waits */
	char name[TEMPLATE_NAME_MAX + 1];
	bool done;
};

static void call_end(struct request *r)
{
	struct template_call *call = r->state;

	call->r = NULL;
	if (call->done)
		free(call);
}

static void answer(struct request *r, const char *name, const struct error *err)
{
	int index = err ? -1 : template_find(r->core, name);

	if (err)
		reply_error(r, err);
	else if (index < 0)
		reply_say(r, ENOENT, "the template %s has gone", name);
	else
		reply_json(r, MHD_HTTP_CREATED, show(r->core, (size_t)index));
}

static void made(void *ctx, const struct error *err)
{
	struct template_call *call = ctx;

	call->done = true;
	if (call->r)
		answer(call->r, call->name, err);
	else
		free(call);
}

static void freeze(struct request *r, struct sandbox *sb, const char *name)
{
	struct template_call *call = calloc(1, sizeof(*call));
	struct error err;

	if (!call) {
		reply_say(r, ENOMEM, "cannot make a template");
		return;
	}
	snprintf(call->name, sizeof(call->name), "%s", name);
	call->r = r;
	if (template_freeze(sb, name, made, call, &err) < 0) {
		free(call);
		reply_error(r, &err);
		return;
	}
	r->state = call;
	r->end = call_end;
}

static void make(struct request *r)
{
	const char *which = NULL, *name = NULL;
	struct sandbox *sb;
	struct error err;

	if (request_text(r, "sandbox", &which, &err) < 0 ||
	    request_text(r, "name", &name, &err) < 0) {
		reply_error(r, &err);
		return;
	}
	if (!which || !name) {
		reply_say(r, EINVAL, "sandbox and name are needed");
		return;
	}
	sb = request_find_sandbox(r, which);
	if (sb)
		freeze(r, sb, name);
}

static void change(struct request *r)
{
	bool chosen = false;
	struct error err;
	int index = find(r, r->parameters[0]);

	if (index < 0)
		return;
	if (request_flag(r, "default", &chosen, &err) < 0) {
		reply_error(r, &err);
		return;
	}
	if (!chosen) {
		reply_say(r, EINVAL, "there is always a default: choose another one");
		return;
	}
	r->core->templates.fallback = (size_t)index;
	reply_json(r, MHD_HTTP_OK, show(r->core, (size_t)index));
}

static void delete (struct request *r)
{
	int index = find(r, r->parameters[0]);
	struct error err;

	if (index < 0)
		return;
	if (template_remove(r->core, (size_t)index, &err) < 0)
		reply_error(r, &err);
	else
		reply_empty(r, MHD_HTTP_NO_CONTENT);
}

const struct route template_routes[] = {
    {"GET", "/v1/templates", list, 0},
    {"POST", "/v1/templates", make, ROUTE_JSON},
    {"GET", "/v1/templates/{name}", get, 0},
    {"PATCH", "/v1/templates/{name}", change, ROUTE_JSON},
    {"DELETE", "/v1/templates/{name}", delete, 0},
    {0},
};
