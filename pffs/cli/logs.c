/*
 * pffs logs and events: what runs have put out, and what has happened.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const char help_logs[] =
    "usage: pffs logs [-f] SANDBOX [RUN]\n"
    "\n"
    "What a run has put out: RUN is its number, else it is the newest. Its standard output "
    "and\n"
    "error go to ours.\n"
    "\n"
    "  -f, --follow  also what comes, until it ends\n"
    "      --json    the run, with its output as text\n"
    "      --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

static int take_follow(void *ctx, int option, const char *value)
{
	bool *follow = ctx;

	(void)option;
	(void)value;
	*follow = true;
	return 0;
}

static int to_stderr(void *ctx, const void *data, size_t len)
{
	(void)ctx;
	return io_write_all_wait(STDERR_FILENO, data, len);
}

/* Then the order in which they came is the one in which they are shown. */
static bool same_place(void)
{
	struct stat out, err;

	return fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
	       out.st_dev == err.st_dev && out.st_ino == err.st_ino;
}

/* What is asked for twice is to be one run, whatever begins meanwhile. Return: the number
 * of the newest to free(), or NULL. */
static char *newest_run(struct command *c, const char *sandbox)
{
	json_t *answer = NULL;
	json_int_t number;
	char *text;

	if (command_ask(c, "GET", NULL, &answer, "/v1/sandboxes/%s", sandbox) != 0)
		return NULL;
	number = json_integer_value(json_object_get(answer, "run"));
	json_decref(answer);
	if (number <= 0)
		return strdup("last"); /* there is none, and pffs has a sentence for it */
	return asprintf(&text, "%" JSON_INTEGER_FORMAT, number) < 0 ? NULL : text;
}

static int show(struct command *c, const char *run, bool follow)
{
	cleanup_free char *first = NULL, *second = NULL;
	const char *more = follow ? "?follow=true" : "";
	bool one = same_place();
	struct transfer t[2] = {{.take = command_to_stdout}, {.take = to_stderr}};

	if (asprintf(&first, "%s/%s%s", run, one ? "output" : "stdout", more) < 0)
		first = NULL;
	if (asprintf(&second, "%s/stderr%s", run, more) < 0)
		second = NULL;
	t[0].path = first;
	t[1].path = second;
	if (!first || !second)
		error_set(&t[0].err, ENOMEM, "cannot ask pffs");
	else
		client_transfer(c->client, t, one ? 1 : 2, NULL, 0);
	for (size_t i = 0; i < 2; i++) {
		if (t[i].err.code < 0 && !c->status)
			command_fail(c, &t[i].err);
		transfer_fini(&t[i]);
	}
	return c->status;
}

static void print_run(struct command *c, const char *run, bool follow)
{
	json_t *answer = NULL;

	if (command_ask(c, "GET", NULL, &answer, "%s%s", run, follow ? "?wait=true" : "") ==
	    0)
		command_print_json(c, answer);
	json_decref(answer);
}

int cmd_logs(int argc, char **argv)
{
	static const struct option options[] = {{"follow", no_argument, NULL, 'f'}, {0}};
	bool follow = false;
	struct command c = {.help = help_logs,
			    .options = options,
			    .take = take_follow,
			    .ctx = &follow,
			    .least = 1,
			    .most = 2};
	cleanup_free char *sandbox = NULL, *number = NULL, *run = NULL;

	if (!command_begin(&c, argc, argv))
		return c.status;
	sandbox = client_reference(c.operands[0]);
	if (sandbox)
		number =
		    c.count > 1 ? client_escape(c.operands[1]) : newest_run(&c, sandbox);
	if (!number || asprintf(&run, "/v1/sandboxes/%s/runs/%s", sandbox, number) < 0)
		run = NULL;
	if (run && c.json)
		print_run(&c, run, follow);
	else if (run)
		show(&c, run, follow);
	command_end(&c);
	return c.status;
}

static const char help_events[] =
    "usage: pffs events [-f] [SANDBOX]\n"
    "\n"
    "What has happened to all sandboxes, or to one: the events that are kept.\n"
    "\n"
    "  -f, --follow  also those that come\n"
    "      --json    lines of JSON, as in the mount's `events`\n"
    "      --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

/* Lines that come in pieces. */
struct lines {
	struct buf line;
};

/* What the guest had a say in could do something to a terminal. */
static void print_value(const char *key, const json_t *value)
{
	cleanup_free char *text =
	    json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
	const char *word = json_string_value(value);
	bool plain = word && *word;

	for (const char *at = word; at && *at; at++)
		plain = plain && *at > ' ' && *at < 0x7f && *at != '"' && *at != '=';
	printf(" %s=%s", key, plain ? word : text ? text : "");
}

static bool is_shown_first(const char *key)
{
	static const char *const first[] = {"time", "event", "sandbox", "seq", "id"};

	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		if (strcmp(first[i], key) == 0)
			return true;
	return false;
}

static void print_event(const char *line, size_t len)
{
	json_t *event = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
	const char *time = json_string_value(json_object_get(event, "time"));
	const char *what = json_string_value(json_object_get(event, "event"));
	const char *name = json_string_value(json_object_get(event, "sandbox"));
	const char *key;
	json_t *value;

	if (event)
		printf("%s %-12s %s", time ? time : "-", what ? what : "-",
		       name ? name : "-");
	json_object_foreach(event, key, value)
	{
		if (!is_shown_first(key))
			print_value(key, value);
	}
	if (event)
		putchar('\n');
	json_decref(event);
}

static int take_lines(void *ctx, const void *data, size_t len)
{
	struct lines *lines = ctx;
	const char *newline, *start;

	if (buf_append(&lines->line, data, len) < 0)
		return -ENOMEM;
	while (lines->line.len && (start = (const char *)buf_peek(&lines->line)) &&
	       (newline = memchr(start, '\n', lines->line.len))) {
		print_event(start, (size_t)(newline - start));
		buf_consume(&lines->line, (size_t)(newline - start) + 1);
	}
	return fflush(stdout) < 0 ? -errno : 0;
}

static void follow_events(struct command *c, const char *path)
{
	struct lines lines = {0};
	struct transfer t = {.path = path,
			     .accept = "application/x-ndjson",
			     .take = c->json ? command_to_stdout : take_lines,
			     .ctx = &lines};

	client_transfer(c->client, &t, 1, NULL, 0);
	if (t.err.code < 0)
		command_fail(c, &t.err);
	transfer_fini(&t);
	buf_fini(&lines.line);
}

int cmd_events(int argc, char **argv)
{
	static const struct option options[] = {{"follow", no_argument, NULL, 'f'}, {0}};
	bool follow = false;
	struct command c = {.help = help_events,
			    .options = options,
			    .take = take_follow,
			    .ctx = &follow,
			    .most = 1};
	cleanup_free char *sandbox = NULL, *path = NULL;

	if (!command_begin(&c, argc, argv))
		return c.status;
	if (c.count)
		sandbox = client_reference(c.operands[0]);
	if (asprintf(&path, "/v1/%s%s%sevents?since=0&follow=%s",
		     sandbox ? "sandboxes/" : "", sandbox ? sandbox : "",
		     sandbox ? "/" : "", follow ? "true" : "false") < 0)
		path = NULL;
	if (path)
		follow_events(&c, path);
	command_end(&c);
	return c.status;
}
