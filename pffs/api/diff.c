/*
 * What a sandbox has changed, and what is different between two.
 */
#include "pffs/core/diff/diff.h"

#include "pffs/api/reply.h"
#include "pffs/core/diff/target.h"
#include "pffs/core/place.h"
#include "util/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct diff_call {
	struct diff *diff;
	struct sandbox *to; /* reference, or NULL */
	char *paths;	    /* lines, or NULL */
	enum diff_form form;
};

static void call_end(struct request *r)
{
	struct diff_call *call = r->state;

	if (call->diff)
		diff_cancel(call->diff);
	if (call->to)
		sandbox_unref(call->to);
	free(call->paths);
	free(call);
}

static void made(void *ctx, char *text, size_t len, const struct error *err)
{
	static const char *const media_types[] = {
	    [DIFF_LIST] = "text/plain; charset=utf-8",
	    [DIFF_JSON] = "application/json",
	    [DIFF_PATCH] = "text/x-diff; charset=utf-8",
	};
	struct request *r = ctx;
	struct diff_call *call = r->state;

	call->diff = NULL;
	if (err)
		reply_error(r, err);
	else
		reply_bytes(r, MHD_HTTP_OK, media_types[call->form], text, len);
}

/* Return: 0 or -EINVAL with @err filled. */
static int parse_form(const struct request *r, enum diff_form *form, struct error *err)
{
	static const char *const names[] = {
	    [DIFF_LIST] = "list", [DIFF_JSON] = "json", [DIFF_PATCH] = "patch"};
	const char *format = request_query(r, "format");

	*form = DIFF_JSON;
	if (!format)
		return 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		*form = (enum diff_form)i;
		if (strcmp(format, names[i]) == 0)
			return 0;
	}
	return error_say(err, EINVAL, "format is json, list or patch, not \"%.40s\"",
			 format);
}

/* Return: 0 or -errno with @err filled. @paths: lines, or NULL: of the sandbox. */
static int parse_paths(const struct request *r, char **paths, struct error *err)
{
	struct buf lines = {0};

	for (size_t i = 0; i < r->query_count; i++) {
		const char *value = r->query[i].value;

		if (strcmp(r->query[i].name, "path") != 0)
			continue;
		if (!*value || strchr(value, '\n') ||
		    lines.len + strlen(value) > DIFF_PATHS_MAX ||
		    buf_append(&lines, value, strlen(value)) < 0 ||
		    buf_append(&lines, "\n", 1) < 0) {
			buf_fini(&lines);
			return error_say(err, EINVAL,
					 "path is the path of a file or a directory");
		}
	}
	if (!lines.len)
		return 0;
	*paths = strndup((const char *)buf_peek(&lines), lines.len);
	buf_fini(&lines);
	return *paths ? 0 : error_set(err, ENOMEM, "cannot compare");
}

static void begin(struct request *r, struct diff_order *order)
{
	struct diff_call *call = calloc(1, sizeof(*call));
	struct error err;
	struct diff *diff;

	if (!call) {
		reply_say(r, ENOMEM, "no memory for this request");
		return;
	}
	r->state = call;
	r->end = call_end;
	if (parse_form(r, &call->form, &err) < 0 ||
	    parse_paths(r, &call->paths, &err) < 0) {
		reply_error(r, &err);
		return;
	}
	if (order->to != r->sb)
		call->to = sandbox_ref(order->to);
	order->form = call->form;
	order->paths = call->paths ? call->paths : r->sb->diff_paths;
	diff = diff_begin(order, made, r);
	if (diff)
		call->diff = diff;
}

static void changes(struct request *r)
{
	struct diff_order order = {.from_of = DIFF_FORK_POINT, .from = r->sb, .to = r->sb};

	begin(r, &order);
}

/* Return: false: nobody has that name, or has it any more. */
static bool find_target(struct request *r, const char *name, struct diff_order *order)
{
	struct sandbox *sb = r->sb;

	order->from = order->to = sb;
	if (strcmp(name, "template") == 0 ||
	    (strcmp(name, "parent") == 0 && !*sb->parent_id)) {
		order->to_of = DIFF_TEMPLATE;
		return true;
	}
	if (strcmp(name, "parent") == 0)
		order->to = sandbox_by_id(r->core, sb->parent_id);
	else
		order->to = target_named(sb, name, NULL, NULL);
	if (!order->to)
		order->to = place_find(r->core, name);
	return order->to;
}

static void diff(struct request *r)
{
	struct diff_order order = {0};

	if (find_target(r, r->parameters[1], &order))
		begin(r, &order);
	else
		reply_say(r, ENOENT, "%s knows no sandbox %.100s", r->sb->name,
			  r->parameters[1]);
}

const struct route diff_routes[] = {
    {"GET", "/v1/sandboxes/{id}/changes", changes, ROUTE_SANDBOX},
    {"GET", "/v1/sandboxes/{id}/diff/{target}", diff, ROUTE_SANDBOX},
    {0},
};
