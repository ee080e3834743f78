/*
 * Sandboxes: making, forking, comparing, merging.
 */
#include "pffs/mcp/mcp.h"
#include "pffs/mcp/mcp_session.h"
#include "pffs/mcp/mcp_text.h"
#include "pffs/mcp/mcp_tools.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

#define PATHS_MAX 300
#define PATCH_MAX 100000

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* A sandbox as the tools tell of one. */
static json_t *describe(struct call *call, const json_t *sandbox)
{
	const char *id = text_of(sandbox, "id"), *parent = text_of(sandbox, "parent");

	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:b}", "sandbox", id, "name",
			 text_of(sandbox, "name"), "path", text_of(sandbox, "path"),
			 "state", text_of(sandbox, "state"), "parent",
			 *parent ? json_string(parent) : json_null(), "made_here",
			 session_made(call, id));
}

int tool_create_sandbox(struct call *call, struct result *result, struct error *err)
{
	json_t *answer = NULL, *body = json_object();
	const char *keys[] = {"name", "template"};
	int r;

	for (size_t i = 0; i < 2; i++)
		if (json_object_get(call->arguments, keys[i]))
			json_object_set(body, keys[i],
					json_object_get(call->arguments, keys[i]));
	/* Not to be cancelled: nobody would know of it. */
	r = session_client(call, err) ? client_call(session_client(call, err), "POST", body,
						    &answer, err, "/v1/sandboxes")
				      : err->code;
	json_decref(body);
	if (r == 0) {
		session_add(call, answer);
		result->structured = describe(call, answer);
		result_say(result, "sandbox %s (%s)", text_of(answer, "name"),
			   text_of(answer, "id"));
	}
	json_decref(answer);
	return r;
}

int tool_list_sandboxes(struct call *call, struct result *result, struct error *err)
{
	json_t *answer = NULL, *list = json_array(), *sandbox;
	int r = session_ask(call, "GET", NULL, &answer, err, "/v1/sandboxes");
	size_t i;

	json_array_foreach(json_object_get(answer, "sandboxes"), i, sandbox)
	{
		result_say(result, "%s (%s): %s", text_of(sandbox, "path"),
			   text_of(sandbox, "id"), text_of(sandbox, "state"));
		json_array_append_new(list, describe(call, sandbox));
	}
	if (r == 0 && !json_array_size(list))
		result_say(result, "there is no sandbox");
	if (r == 0)
		result->structured = json_pack("{s:O}", "sandboxes", list);
	json_decref(list);
	json_decref(answer);
	return r;
}

int tool_destroy_sandbox(struct call *call, struct result *result, struct error *err)
{
	cleanup_target struct target target = {0};
	int r = session_argument(call, &target, err);

	if (r < 0)
		return r;
	if ((!target.own || call->mcp->session->options.sandbox) &&
	    !session_made(call, target.name))
		return error_say(
		    err, EPERM,
		    "this session did not make %s, so the user has to remove it",
		    target.name);
	r = session_ask(call, "DELETE", NULL, NULL, err, "%s", target.path);
	if (r < 0)
		return r;
	session_forget(call, &target);
	result->structured = json_pack("{s:s}", "destroyed", target.name);
	result_say(result, "%s is no more", target.name);
	return 0;
}

int tool_fork(struct call *call, struct result *result, struct error *err)
{
	cleanup_target struct target target = {0};
	json_t *names = json_object_get(call->arguments, "names"), *answer = NULL;
	json_t *n = json_object_get(call->arguments, "n"), *body, *sandbox;
	json_t *forks = json_array();
	int r = session_argument(call, &target, err);
	size_t i;

	body = json_is_array(names)
		   ? json_pack("{s:O}", "names", names)
		   : json_pack("{s:I}", "n", n ? json_integer_value(n) : 1);
	if (r == 0)
		r = client_call(session_client(call, err), "POST", body, &answer, err,
				"%s/fork", target.path);
	json_array_foreach(json_object_get(answer, "sandboxes"), i, sandbox)
	{
		session_add(call, sandbox);
		json_array_append_new(forks, describe(call, sandbox));
		if (r == 0)
			result_say(result, "fork %s (%s) of %s", text_of(sandbox, "name"),
				   text_of(sandbox, "id"), target.name);
	}
	if (r == 0)
		result->structured = json_pack("{s:O}", "forks", forks);
	else
		session_explain(call, &target, err);
	json_decref(body);
	json_decref(answer);
	json_decref(forks);
	return r;
}

/* "?format=json&path=...": to free(), or NULL. */
static char *diff_query(const struct call *call, const char *format)
{
	const json_t *paths = json_object_get(call->arguments, "paths"), *path;
	char *query;
	size_t i;

	if (asprintf(&query, "?format=%s", format) < 0)
		return NULL;
	json_array_foreach(paths, i, path)
	{
		cleanup_free char *before = query;
		cleanup_free char *escaped = client_escape(json_string_value(path));

		if (!escaped || asprintf(&query, "%s&path=%s", before, escaped) < 0)
			return NULL;
	}
	return query;
}

static int ask_diff(struct call *call, const struct target *target, const char *format,
		    json_t **answer, struct error *err)
{
	const char *other = json_string_value(json_object_get(call->arguments, "target"));
	cleanup_target struct target second = {0};
	cleanup_free char *query = diff_query(call, format);
	bool relation =
	    other && (strcmp(other, "parent") == 0 || strcmp(other, "template") == 0);
	int r = 0;

	*answer = NULL;
	if (!query)
		return error_set(err, ENOMEM, "cannot compare");
	if (!other)
		return session_ask(call, "GET", NULL, answer, err, "%s/changes%s",
				   target->path, query);
	if (!relation)
		r = session_target(call, other, &second, err);
	if (r < 0)
		return r;
	return session_ask(call, "GET", NULL, answer, err, "%s/diff/%s%s", target->path,
			   relation ? other : strrchr(second.path, '/') + 1, query);
}

/* So many as are @left to be told. */
static size_t add_paths(struct result *result, const json_t *diff, const char *key,
			char letter, size_t *left, struct buf *text)
{
	const json_t *all = json_object_get(diff, key);
	size_t told = 0, count = json_array_size(all);
	json_t *paths = json_array(), *path;

	for (; told < count && told < *left; told++) {
		char start[] = {'\n', letter, ' '};

		path = text_path(json_array_get(all, told));
		if (!path)
			break;
		json_array_append_new(paths, path);
		buf_append(text, start + !text->len, sizeof(start) - !text->len);
		buf_append(text, json_string_value(path), json_string_length(path));
	}
	json_object_set_new(result->structured, key, paths);
	*left -= told;
	return count - told;
}

static int add_patch(struct call *call, const struct target *target, struct result *result,
		     struct error *err)
{
	json_t *answer = NULL;
	int r = ask_diff(call, target, "patch", &answer, err);
	const char *text = json_is_string(answer) ? json_string_value(answer) : "";
	size_t len = json_is_string(answer) ? json_string_length(answer) : 0;
	size_t shown = text_oldest(text, len, PATCH_MAX);

	if (r == 0) {
		json_object_set_new(result->structured, "patch", text_clean(text, shown));
		json_object_set_new(result->structured, "patch_truncated",
				    json_boolean(shown < len));
		result_text(result, text, shown);
		if (shown < len)
			result_say(result,
				   "[the patch goes on, %zu bytes in all: say paths]", len);
	}
	json_decref(answer);
	return r;
}

int tool_diff(struct call *call, struct result *result, struct error *err)
{
	cleanup_target struct target target = {0};
	size_t left = PATHS_MAX, omitted = 0;
	struct buf text = {0};
	json_t *diff = NULL;
	int r = session_argument(call, &target, err);

	if (r == 0)
		r = ask_diff(call, &target, "json", &diff, err);
	if (r < 0) {
		session_explain(call, &target, err);
		json_decref(diff);
		return r;
	}
	result->structured = json_pack("{s:s}", "sandbox", target.name);
	omitted += add_paths(result, diff, "added", 'A', &left, &text);
	omitted += add_paths(result, diff, "removed", 'D', &left, &text);
	omitted += add_paths(result, diff, "modified", 'M', &left, &text);
	json_object_set_new(result->structured, "omitted",
			    json_integer((json_int_t)omitted));
	if (text.len)
		result_text(result, (const char *)buf_peek(&text), text.len);
	else
		result_say(result, "no file is different");
	if (omitted)
		result_say(result, "[%zu more: say paths]", omitted);
	buf_fini(&text);
	json_decref(diff);
	if (json_is_true(json_object_get(call->arguments, "patch")))
		return add_patch(call, &target, result, err);
	return 0;
}

static int adopt(struct call *call, const struct target *target, const json_t *forks,
		 struct result *result, struct error *err)
{
	cleanup_target struct target fork = {0};
	int r;

	if (json_array_size(forks) != 1)
		return error_say(err, EINVAL,
				 "a sandbox can become one fork only; to have the files of "
				 "several say how: files");
	r = session_target(call, json_string_value(json_array_get(forks, 0)), &fork, err);
	if (r == 0)
		r = client_call(session_client(call, err), "POST", NULL, NULL, err,
				"%s/merge_into/%s", target->path,
				strrchr(fork.path, '/') + 1);
	if (r < 0)
		return r;
	session_forget(call, &fork);
	result->structured = json_pack("{s:s, s:b, s:s}", "sandbox", target->name, "merged",
				       1, "report", "");
	result_say(result, "%s is now what its fork %s was, which has gone", target->name,
		   fork.name);
	return 0;
}

/* The names of forks as pffs knows them. */
static int forks_of(struct call *call, const json_t *forks, json_t *files,
		    struct error *err)
{
	const json_t *name;
	size_t i;

	json_array_foreach(forks, i, name)
	{
		cleanup_target struct target fork = {0};
		int r = session_target(call, json_string_value(name), &fork, err);

		if (r < 0)
			return r;
		json_array_append_new(files, json_string(fork.id));
	}
	return 0;
}

static int merge_files(struct call *call, const struct target *target, const json_t *forks,
		       struct result *result, struct error *err)
{
	json_t *favour = json_object_get(call->arguments, "favour"), *answer = NULL;
	json_t *files = json_array(), *body = json_pack("{s:O}", "files", files);
	int r = forks_of(call, forks, files, err);
	const char *report;

	if (json_is_string(favour))
		json_object_set(body, "favour", favour);
	if (r == 0)
		r = client_call(session_client(call, err), "POST", body, &answer, err,
				"%s/merge", target->path);
	report = text_of(answer, "report");
	if (r == 0 || *report) {
		size_t shown = text_oldest(report, strlen(report), PATCH_MAX);

		result->structured =
		    json_pack("{s:s, s:b, s:o}", "sandbox", target->name, "merged", r == 0,
			      "report", text_clean(report, shown));
		result_say(result, "%s",
			   r == 0 ? "merged" : "not merged, and nothing has changed:");
		result_text(result, report, shown);
	}
	json_decref(answer);
	json_decref(files);
	json_decref(body);
	return r;
}

int tool_merge(struct call *call, struct result *result, struct error *err)
{
	cleanup_target struct target target = {0};
	const json_t *forks = json_object_get(call->arguments, "forks");
	const char *how = json_string_value(json_object_get(call->arguments, "how"));
	int r = session_argument(call, &target, err);

	if (r < 0)
		return r;
	return how && strcmp(how, "files") == 0
		   ? merge_files(call, &target, forks, result, err)
		   : adopt(call, &target, forks, result, err);
}
