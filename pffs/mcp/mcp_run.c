/*
 * Running code, and what came of it.
 *
 * A run is begun by one question, which does not wait, and waited for by another; so its
 * number is known when the call is cancelled, and the run can be interrupted. A caller who
 * wants progress gets the output's newest line meanwhile, at least once a second.
 */
#include "pffs/mcp/mcp.h"
#include "pffs/mcp/mcp_session.h"
#include "pffs/mcp/mcp_text.h"
#include "pffs/mcp/mcp_tools.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>

#define OUTPUT_DEFAULT 100000
#define NOTE_MAX       400	    /* bytes of output in a progress notification */
#define NOTE_NS	       200000000ull /* between two of them */
#define GRACE_S	       3	    /* an interrupted run may still take */
#define FIGURES_MAX    (8u << 20)   /* bytes of all of them, in base64 */
#define CHANGES_MAX    300
#define PNG_IN_BASE64  "iVBORw0KGgo"

/* A run that is waited for. */
struct watched {
	struct call *call;
	char *path; /* of its requests */
	json_int_t number;
	uint64_t began_ns, told_ns;
	char newest[NOTE_MAX];
	size_t len;
	int timer_fd;
};

static void tell_progress(struct watched *w)
{
	uint64_t now = io_monotonic_ns();
	size_t from = text_newest(w->newest, w->len, NOTE_MAX);
	json_t *params = json_pack("{s:O, s:f}", "progressToken", w->call->progress,
				   "progress", (double)(now - w->began_ns) / 1e9);

	if (w->len)
		json_object_set_new(params, "message",
				    text_clean(w->newest + from, w->len - from));
	rpc_notify(&w->call->mcp->rpc, "notifications/progress", params);
	w->len = 0;
	w->told_ns = now;
}

static int take_output(void *ctx, const void *data, size_t len)
{
	struct watched *w = ctx;
	size_t keep = len > NOTE_MAX ? NOTE_MAX : len;
	size_t old = w->len + keep > NOTE_MAX ? NOTE_MAX - keep : w->len;

	memmove(w->newest, w->newest + (w->len - old), old);
	memcpy(w->newest + old, (const char *)data + (len - keep), keep);
	w->len = old + keep;
	if (io_monotonic_ns() - w->told_ns > NOTE_NS)
		tell_progress(w);
	return 0;
}

static int second_passed(void *ctx)
{
	struct watched *w = ctx;
	uint64_t times;

	if (read(w->timer_fd, &times, sizeof(times)) == sizeof(times))
		tell_progress(w);
	return 0;
}

static int timer_of(long first_s, long then_s)
{
	struct itimerspec when = {.it_value.tv_sec = first_s, .it_interval.tv_sec = then_s};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd >= 0)
		timerfd_settime(fd, 0, &when, NULL);
	return fd;
}

static int is_over(void *ctx)
{
	(void)ctx;
	return -ETIMEDOUT;
}

/* The call was cancelled: its run is interrupted, and killed if that does not help. It is
 * asked without the call's own descriptor, which ends whatever watches it. */
static void stop(struct watched *w)
{
	const struct client *client = session_client(w->call, NULL);
	cleanup_close int timer = timer_of(GRACE_S, 0);
	struct client_watch watch = {.fd = timer, .ready = is_over};
	cleanup_free char *wait = NULL, *path = NULL;
	json_t *gently = json_pack("{s:s}", "signal", "interrupt");
	struct transfer t = {.method = "POST", .body = gently};
	int r = -ENOMEM;

	if (asprintf(&path, "%s/stop", w->path) < 0)
		path = NULL;
	if (asprintf(&wait, "%s?wait=true", w->path) < 0)
		wait = NULL;
	t.path = path;
	if (path)
		r = client_transfer(client, &t, 1, &watch, timer >= 0);
	transfer_fini(&t);
	t = (struct transfer){.path = wait};
	if (wait && r == 0)
		r = client_transfer(client, &t, 1, &watch, timer >= 0);
	transfer_fini(&t);
	if (r < 0 && path)
		client_call(client, "POST", NULL, NULL, NULL, "%s", path);
	json_decref(gently);
}

static int begin(struct watched *w, const struct target *target, const char *language,
		 struct error *err)
{
	const json_t *arguments = w->call->arguments;
	json_t *body =
	    json_pack("{s:O, s:s, s:b}", "code", json_object_get(arguments, "code"),
		      "language", language, "wait", 0);
	json_t *limit = json_object_get(arguments, "timeout_seconds"), *answer = NULL;
	json_t *input = json_object_get(arguments, "stdin");
	int r;

	if (json_is_number(limit))
		json_object_set(body, "timeout_seconds", limit);
	if (json_is_string(input))
		json_object_set(body, "stdin", input);
	/* Not to be cancelled: it would go on, and nobody knew its number. */
	r = client_call(session_client(w->call, err), "POST", body, &answer, err, "%s/runs",
			target->path);
	json_decref(body);
	w->number = json_integer_value(json_object_get(answer, "number"));
	json_decref(answer);
	if (r == 0 &&
	    asprintf(&w->path, "%s/runs/%lld", target->path, (long long)w->number) < 0) {
		w->path = NULL;
		r = error_set(err, ENOMEM, "cannot wait for the run");
	}
	return r;
}

/* Return: 0 with @run, to json_decref(), or -errno with @err filled. */
static int await(struct watched *w, json_t **run, struct error *err)
{
	cleanup_free char *answer = NULL, *output = NULL;
	cleanup_close int timer = w->call->progress ? timer_of(1, 1) : -1;
	struct client_watch tick = {.fd = timer, .ready = second_passed, .ctx = w};
	struct transfer t[2];
	int r;

	if (asprintf(&answer, "%s?wait=true&figures=data", w->path) < 0)
		answer = NULL;
	if (asprintf(&output, "%s/output?follow=true", w->path) < 0)
		output = NULL;
	if (!answer || !output)
		return error_set(err, ENOMEM, "cannot wait for the run");
	w->timer_fd = timer;
	t[0] = (struct transfer){.path = answer};
	t[1] = (struct transfer){.path = output, .take = take_output, .ctx = w};
	r = session_transfer(w->call, t, timer >= 0 ? 2 : 1, timer >= 0 ? &tick : NULL,
			     err);
	if (r == -ECANCELED)
		stop(w);
	if (r == 0 && t[0].err.code < 0) {
		*err = t[0].err;
		r = err->code;
	}
	*run = steal_pointer(&t[0].answer);
	transfer_fini(&t[0]);
	if (timer >= 0)
		transfer_fini(&t[1]);
	return r;
}

/* One of the streams: what is kept of it for the model goes to @structured. */
static bool add_stream(struct result *result, const json_t *run, const char *name,
		       size_t max)
{
	const json_t *value = json_object_get(run, name);
	const char *text = json_string_value(value);
	size_t len = json_string_length(value),
	       from = text ? text_newest(text, len, max) : 0;

	if (!text)
		text = "";
	json_object_set_new(result->structured, name, text_clean(text + from, len - from));
	if (len == 0)
		return false;
	if (strcmp(name, "stderr") == 0)
		result_say(result, "[stderr]");
	result_text(result, text + from, len - from);
	return from > 0;
}

static void add_changes(struct result *result, const json_t *run)
{
	json_t *changes = json_array(), *files = json_array();
	const json_t *from = json_object_get(run, "changes"), *change;
	size_t i;

	json_array_foreach(from, i, change)
	{
		const char *what = json_string_value(json_object_get(change, "change"));
		json_t *path = text_path(json_object_get(change, "path"));

		if (what && path && i < CHANGES_MAX)
			json_array_append_new(
			    changes, json_pack("{s:s, s:O}", "change", what, "path", path));
		if (what && path && i < CHANGES_MAX && *what != 'D')
			json_array_append(files, path);
		json_decref(path);
	}
	json_object_set_new(result->structured, "changes", changes);
	json_object_set_new(result->structured, "files", files);
	json_object_set_new(
	    result->structured, "changes_omitted",
	    json_integer(i > CHANGES_MAX ? (json_int_t)i - CHANGES_MAX : 0));
}

/* What is no PNG is not shown: it comes from the guest, and a model's API may refuse all
 * of a conversation that has a broken image in it. */
static void add_figures(struct result *result, const json_t *run)
{
	const json_t *figures = json_object_get(run, "figures"), *figure;
	size_t i, room = FIGURES_MAX, shown = 0;

	json_array_foreach(figures, i, figure)
	{
		const char *data = json_string_value(json_object_get(figure, "data"));
		size_t len = data ? strlen(data) : 0;

		if (!len || len > room ||
		    strncmp(data, PNG_IN_BASE64, strlen(PNG_IN_BASE64)) != 0)
			continue;
		room -= len;
		shown++;
		json_array_append_new(result->content,
				      json_pack("{s:s, s:s, s:s}", "type", "image", "data",
						data, "mimeType", "image/png"));
	}
	json_object_set_new(result->structured, "figures", json_integer((json_int_t)shown));
	json_object_set_new(result->structured, "figures_omitted",
			    json_integer((json_int_t)(i - shown)));
}

static void name_files(struct buf *line, const json_t *files, size_t omitted)
{
	const json_t *file;
	size_t i;

	json_array_foreach(files, i, file)
	{
		const char *between = i ? ", " : "; files made or modified: ";

		buf_append(line, between, strlen(between));
		buf_append(line, json_string_value(file), json_string_length(file));
	}
	if (omitted)
		buf_append(line, " and more", strlen(" and more"));
}

/* The last line: how it ended, and what there is beside the output. */
static void add_end(struct result *result, const json_t *run, bool cut)
{
	const json_t *s = result->structured;
	struct buf line = {0};
	char text[200];

	snprintf(
	    text, sizeof(text), "[run %lld in %.80s: exit code %lld%s%s",
	    (long long)json_integer_value(json_object_get(s, "run")),
	    json_string_value(json_object_get(s, "sandbox")),
	    (long long)json_integer_value(json_object_get(s, "exit_code")),
	    json_is_true(json_object_get(run, "timed_out")) ? ", it took too long" : "",
	    json_is_true(json_object_get(run, "out_of_memory")) ? ", out of memory" : "");
	buf_append(&line, text, strlen(text));
	name_files(&line, json_object_get(s, "files"),
		   (size_t)json_integer_value(json_object_get(s, "changes_omitted")));
	if (cut)
		buf_append(&line, "; older output: read_output", 27);
	if (json_integer_value(json_object_get(s, "figures_omitted")))
		buf_append(&line, "; some figures are left out", 27);
	buf_append(&line, "]", 1);
	result_text(result, (const char *)buf_peek(&line), line.len);
	buf_fini(&line);
}

static void describe(struct result *result, const struct target *target, const json_t *run,
		     const json_t *arguments)
{
	const json_t *wanted = json_object_get(arguments, "max_output");
	size_t max = wanted ? (size_t)json_integer_value(wanted) : OUTPUT_DEFAULT;
	bool cut = json_is_true(json_object_get(run, "truncated"));
	json_t *code = json_object_get(run, "exit_code");

	result->structured = json_pack(
	    "{s:s, s:O, s:O, s:b, s:b}", "sandbox", target->name, "run",
	    json_object_get(run, "number"), "exit_code", code ? code : json_null(),
	    "timed_out", json_is_true(json_object_get(run, "timed_out")), "out_of_memory",
	    json_is_true(json_object_get(run, "out_of_memory")));
	cut |= add_stream(result, run, "stdout", max);
	cut |= add_stream(result, run, "stderr", max);
	json_object_set_new(result->structured, "truncated", json_boolean(cut));
	add_changes(result, run);
	add_end(result, run, cut);
	add_figures(result, run);
}

static int run_code(struct call *call, const char *language, struct result *result,
		    struct error *err)
{
	struct watched w = {.call = call, .began_ns = io_monotonic_ns()};
	cleanup_target struct target target = {0};
	json_t *run = NULL;
	int r = session_argument(call, &target, err);

	if (r == 0)
		r = begin(&w, &target, language, err);
	if (r == 0)
		r = await(&w, &run, err);
	if (r == 0 && !json_is_integer(json_object_get(run, "number")))
		r = error_say(err, EIO, "pffs answered with something that is no run");
	if (r == 0)
		describe(result, &target, run, call->arguments);
	else
		session_explain(call, &target, err);
	json_decref(run);
	free(w.path);
	return r;
}

int tool_run_python(struct call *call, struct result *result, struct error *err)
{
	return run_code(call, "python", result, err);
}

int tool_run_bash(struct call *call, struct result *result, struct error *err)
{
	return run_code(call, "bash", result, err);
}
