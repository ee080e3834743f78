#include "pffs/cli/run_code.h"

#include "pffs/cli/progress.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#define STDIN_MAX (48u << 20) /* of a text */
#define EVENT_MAX 4096	      /* of an event that says how it ended */
#define PATIENCE  3	      /* ^C, and we leave */
#define PATHS_MAX 256
#define NOT_ENDED (-1)

static int signals = -1;

/* A run that is followed. */
struct followed {
	const struct client *client;
	const char *sandbox;
	const unsigned *number; /* 0: not known yet */
	unsigned pressed;	/* signals so far */
	bool deaf;		/* nobody takes what it puts out */
	struct buf line;	/* of an event */
	json_t *kept;		/* goes into the last one */
	bool skip;		/* it is too long to be the one that is looked for */
	int status;
};

int run_signals(struct error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (signals < 0)
		signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return signals < 0 ? error_set(err, errno, "cannot wait for signals") : 0;
}

int run_signal_fd(void)
{
	return signals;
}

static int give_up(void *ctx)
{
	struct signalfd_siginfo info;

	(void)ctx;
	return read(signals, &info, sizeof(info)) == sizeof(info) ? -EINTR : 0;
}

int run_ask(const struct client *client, struct transfer *transfer, const char *waiting,
	    struct error *err)
{
	struct progress progress;
	struct client_watch watches[2] = {{.fd = signals, .ready = give_up}};
	size_t count = 1;
	int r;

	progress_begin(&progress, waiting);
	if (progress.fd >= 0)
		watches[count++] = (struct client_watch){
		    .fd = progress.fd, .ready = progress_tick, .ctx = &progress};
	r = client_transfer(client, transfer, 1, watches, count);
	progress_end(&progress);
	if (r < 0)
		return error_say(err, -r, "it was interrupted");
	*err = transfer->err;
	return err->code;
}

static void stop(struct followed *f, const char *signal)
{
	json_t *body = json_pack("{s:s}", "signal", signal);

	/* One that has ended meanwhile needs no more. */
	client_call(f->client, "POST", body, NULL, NULL, "/v1/sandboxes/%s/runs/%u/stop",
		    f->sandbox, *f->number);
	json_decref(body);
}

static int take_signal(void *ctx)
{
	struct followed *f = ctx;
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) == sizeof(info)) {
		if (++f->pressed >= PATIENCE || !*f->number)
			return -EINTR;
		stop(f, info.ssi_signo == SIGINT && f->pressed == 1 ? "interrupt" : "kill");
	}
	return 0;
}

/* Whose output nobody takes need not go on, but ends in order. */
static int pass_on(struct followed *f, int fd, const void *data, size_t len)
{
	if (!f->deaf && io_write_all_wait(fd, data, len) < 0) {
		f->deaf = true;
		if (*f->number)
			stop(f, "kill");
	}
	return 0;
}

static int take_stdout(void *ctx, const void *data, size_t len)
{
	return pass_on(ctx, STDOUT_FILENO, data, len);
}

static int take_stderr(void *ctx, const void *data, size_t len)
{
	return pass_on(ctx, STDERR_FILENO, data, len);
}

static bool same_place(void)
{
	struct stat out, err;

	return fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
	       out.st_dev == err.st_dev && out.st_ino == err.st_ino;
}

/* All of our stdin, as text; to free(), or NULL with @err. */
static char *read_stdin(size_t *len, struct error *err)
{
	struct buf all = {0};
	ssize_t n;

	do {
		n = buf_fill(&all, STDIN_FILENO, 65536);
	} while (n > 0 && all.len < STDIN_MAX);
	if (n < 0)
		error_set(err, (int)-n, "cannot read standard input");
	else if (all.len >= STDIN_MAX)
		error_say(err, EFBIG, "there is too much on standard input");
	if (n < 0 || all.len >= STDIN_MAX || !buf_reserve(&all, 1)) {
		buf_fini(&all);
		return NULL;
	}
	*len = all.len;
	memmove(all.data, all.data + all.head, all.len);
	all.data[all.len] = '\0';
	return (char *)all.data;
}

static json_t *body_of(const struct run_code *code, struct error *err)
{
	json_t *body = json_pack("{s:s, s:b}", "language",
				 code->language ? code->language : "python", "wait", 0);
	json_t *text = json_stringn(code->code, code->len);

	if (!text || !body) {
		error_say(err, EILSEQ, "the code is not UTF-8");
		json_decref(text);
		json_decref(body);
		return NULL;
	}
	json_object_set_new(body, "code", text);
	if (code->timeout > 0)
		json_object_set_new(body, "timeout_seconds", json_real(code->timeout));
	return body;
}

/* Return: the run's number, or 0 with @err. */
static unsigned begin(const struct client *client, const struct run_code *code,
		      struct error *err)
{
	json_t *body = body_of(code, err);
	cleanup_free char *path = NULL;
	struct transfer t = {.method = "POST", .body = body};
	unsigned number = 0;

	if (!body || asprintf(&path, "/v1/sandboxes/%s/runs", code->sandbox) < 0) {
		path = NULL;
		json_decref(body);
		return 0;
	}
	if (code->with_stdin)
		json_object_set_new(body, "stdin", json_true());
	t.path = path;
	if (run_ask(client, &t, NULL, err) == 0) {
		number = (unsigned)json_integer_value(json_object_get(t.answer, "number"));
		if (!number)
			error_say(err, EPROTO, "pffs did not say which run it is");
	}
	transfer_fini(&t);
	json_decref(body);
	return number;
}

static int exit_code(const struct followed *f, int *status, struct error *err)
{
	json_t *run = NULL, *code;
	int r = client_call(f->client, "GET", NULL, &run, err, "/v1/sandboxes/%s/runs/%u",
			    f->sandbox, *f->number);

	code = json_object_get(run, "exit_code");
	if (r == 0 && !json_is_integer(code))
		r = error_say(err, EPROTO, "pffs did not say how the run ended");
	*status = (int)json_integer_value(code);
	json_decref(run);
	return r;
}

/* Follow it to its end. */
static int follow(struct followed *f, const struct run_code *code, struct error *err)
{
	bool one = same_place();
	char paths[3][PATHS_MAX];
	const struct client_watch watch = {.fd = signals, .ready = take_signal, .ctx = f};
	struct transfer all[3];
	size_t count = 0;
	int r;

	snprintf(paths[0], PATHS_MAX, "/v1/sandboxes/%s/runs/%u/%s?follow=true", f->sandbox,
		 *f->number, one ? "output" : "stdout");
	snprintf(paths[1], PATHS_MAX, "/v1/sandboxes/%s/runs/%u/stderr?follow=true",
		 f->sandbox, *f->number);
	snprintf(paths[2], PATHS_MAX, "/v1/sandboxes/%s/runs/%u/stdin", f->sandbox,
		 *f->number);
	all[count++] = (struct transfer){.path = paths[0], .take = take_stdout, .ctx = f};
	if (!one)
		all[count++] =
		    (struct transfer){.path = paths[1], .take = take_stderr, .ctx = f};
	if (code->with_stdin)
		all[count++] = (struct transfer){.method = "PUT",
						 .path = paths[2],
						 .sends = true,
						 .send_fd = STDIN_FILENO,
						 .beside = true};
	r = client_transfer(f->client, all, count, &watch, 1);
	*err = all[0].err;
	for (size_t i = 0; i < count; i++)
		transfer_fini(&all[i]);
	return r < 0 ? error_say(err, -r, "the run was left") : err->code;
}

int run_code(struct command *command, const struct run_code *code, int *status,
	     struct error *err)
{
	unsigned number;
	struct followed f = {
	    .client = command->client, .sandbox = code->sandbox, .number = &number};
	int r;

	*err = (struct error){0};
	number = begin(command->client, code, err);
	if (!number)
		return err->code ? err->code : error_set(err, ENOMEM, "cannot ask pffs");
	r = follow(&f, code, err);
	return r < 0 ? r : exit_code(&f, status, err);
}

/* The line, with what is to go into the last one. */
static void print_line(struct followed *f, json_t *event, bool last)
{
	cleanup_free char *text = NULL;

	if (last && json_object_update(event, f->kept) == 0)
		text = json_dumps(event, JSON_COMPACT);
	if (text)
		pass_on(f, STDOUT_FILENO, text, strlen(text));
	else
		pass_on(f, STDOUT_FILENO, buf_peek(&f->line), f->line.len);
	pass_on(f, STDOUT_FILENO, "\n", 1);
}

static void look_at_line(struct followed *f)
{
	json_t *event =
	    f->skip ? NULL
		    : json_loadb((const char *)buf_peek(&f->line), f->line.len, 0, NULL);
	const char *type = json_string_value(json_object_get(event, "type"));
	bool last = type && strcmp(type, "exit") == 0;

	if (last)
		f->status = (int)json_integer_value(json_object_get(event, "data"));
	if (f->kept)
		print_line(f, event, last);
	json_decref(event);
	buf_consume(&f->line, f->line.len);
	f->skip = false;
}

static int take_events(void *ctx, const void *data, size_t len)
{
	struct followed *f = ctx;
	const char *at = data, *end = at + len;

	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t part = (size_t)((newline ? newline : end) - at);

		f->skip = !f->kept && (f->skip || f->line.len + part > EVENT_MAX);
		if (!f->skip && buf_append(&f->line, at, part) < 0)
			return -ENOMEM;
		if (newline)
			look_at_line(f);
		at += part + (newline ? 1 : 0);
	}
	return f->kept ? 0 : pass_on(f, STDOUT_FILENO, data, len);
}

int run_events(struct command *command, const struct run_code *code, int *status,
	       struct error *err)
{
	cleanup_free char *path = NULL, *in = NULL;
	json_t *body = body_of(code, err);
	struct transfer t = {.method = "POST", .body = body, .take = take_events};
	struct followed f = {.client = command->client,
			     .sandbox = code->sandbox,
			     .number = &t.run,
			     .kept = code->kept,
			     .status = NOT_ENDED};
	const struct client_watch watch = {.fd = signals, .ready = take_signal, .ctx = &f};
	size_t len = 0;
	int r;

	if (body && code->with_stdin && !isatty(STDIN_FILENO) &&
	    (in = read_stdin(&len, err)))
		json_object_set_new(body, "stdin", json_stringn(in, len));
	if (!body || (code->with_stdin && !isatty(STDIN_FILENO) && !in) ||
	    asprintf(&path, "/v1/sandboxes/%s/exec", code->sandbox) < 0) {
		path = NULL;
		json_decref(body);
		return err->code;
	}
	t.path = path;
	t.ctx = &f;
	r = client_transfer(command->client, &t, 1, &watch, 1);
	*err = t.err;
	if (r < 0)
		error_say(err, -r, "the run was left");
	else if (!err->code && f.status == NOT_ENDED)
		error_say(err, EPROTO, "pffs did not say how the run ended");
	*status = f.status;
	buf_fini(&f.line);
	transfer_fini(&t);
	json_decref(body);
	return err->code;
}
