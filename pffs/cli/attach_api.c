/*
 * Theory of operation: what the terminal shows is one request whose answer goes on, lines
 * of JSON; what is typed, and each size, is a small request of its own, one after the
 * other. Keys that come before the terminal has its name wait.
 */
#include "pffs/cli/attach_api.h"

#include "pffs/api/base64.h"
#include "pffs/cli/keys.h"
#include "pffs/cli/tty.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#define CHUNK	      16384
#define LINE_MOST     (1u << 20)
#define END_MSECS     500
#define EXIT_BY_FORCE 128  /* and more: a signal ended it as it was */
#define GOES_ON	      1000 /* no enum attach_end yet */

enum { WATCH_KEYS, WATCH_SIGNALS, WATCH_END, WATCHES };

struct remote {
	const struct attach_api *options;
	struct tty tty;
	struct keys keys;
	struct client_watch watches[WATCHES];
	char *terminal; /* NULL until it is known */
	struct buf line;
	bool again;
	int result, status;
	struct error err;
};

static void send(const struct remote *r, const char *what, json_t *body)
{
	/* It may have ended, as we will see. */
	if (r->terminal)
		client_call(r->options->client, "POST", body, NULL, NULL,
			    "/v1/sandboxes/%s/pty/%s/%s", r->options->sandbox, r->terminal,
			    what);
	json_decref(body);
}

static void send_keys(struct remote *r)
{
	struct buf *typed = &r->keys.typed;

	while (r->terminal && typed->len) {
		size_t len = typed->len < CHUNK ? typed->len : CHUNK;

		send(r, "input",
		     json_pack("{s:o}", "data_b64", base64_json(buf_peek(typed), len)));
		buf_consume(typed, len);
	}
}

static void send_size(const struct remote *r)
{
	unsigned rows, cols;

	if (tty_size(&r->tty, &rows, &cols))
		send(r, "resize", json_pack("{s:i, s:i}", "rows", rows, "cols", cols));
}

static int show(struct remote *r, const json_t *event)
{
	const char *text = json_string_value(json_object_get(event, "data_b64"));
	size_t len;
	cleanup_free char *bytes = text ? base64_decode(text, &len) : NULL;

	if (!bytes)
		return error_say(&r->err, EPROTO, "the terminal shows what is no base64");
	if (io_write_all_wait(STDOUT_FILENO, bytes, len) < 0) {
		r->result = ATTACH_LEFT;
		return -ECANCELED;
	}
	if (r->again)
		tty_forget_keys(&r->tty);
	r->again = false;
	return 0;
}

static int take_event(struct remote *r, const json_t *event)
{
	const char *type = json_string_value(json_object_get(event, "type"));
	const char *name = json_string_value(json_object_get(event, "session_id"));
	const char *message = json_string_value(json_object_get(event, "message"));

	if (!type)
		return error_say(&r->err, EPROTO, "the terminal is lost");
	if (strcmp(type, "pty_data") == 0)
		return show(r, event);
	if (strcmp(type, "pty_error") == 0)
		return error_say(&r->err, EIO, "%s", message ? message : "it is lost");
	if (strcmp(type, "pty_exit") == 0) {
		r->status = (int)json_integer_value(json_object_get(event, "data"));
		r->result = ATTACH_EXITED;
	}
	if (strcmp(type, "pty_ready") == 0 && name && !r->terminal) {
		r->terminal = client_escape(name);
		send_size(r);
		send_keys(r);
	}
	return 0;
}

static int take_lines(void *ctx, const void *data, size_t len)
{
	struct remote *r = ctx;
	const char *start, *newline;
	int result = buf_append(&r->line, data, len);

	while (result == 0 && r->line.len && (start = (const char *)buf_peek(&r->line)) &&
	       (newline = memchr(start, '\n', r->line.len))) {
		json_t *event = json_loadb(start, (size_t)(newline - start), 0, NULL);

		result = take_event(r, event);
		json_decref(event);
		buf_consume(&r->line, (size_t)(newline - start) + 1);
	}
	if (result == 0 && r->line.len > LINE_MOST)
		result = error_say(&r->err, EPROTO, "the terminal shows too much at once");
	return result;
}

static int keys_ready(void *ctx)
{
	struct remote *r = ctx;
	char chunk[CHUNK];
	ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0 && r->tty.is)
		return ATTACH_LEFT + 1;
	if (n <= 0) {
		const struct itimerspec each = {
		    .it_value = {.tv_nsec = 1},
		    .it_interval = {.tv_nsec = END_MSECS * 1000000L}};

		r->watches[WATCH_KEYS].fd = -1;
		timerfd_settime(r->watches[WATCH_END].fd, 0, &each, NULL);
		return 0;
	}
	if (keys_take(&r->keys, chunk, (size_t)n))
		return ATTACH_LEFT + 1;
	send_keys(r);
	return 0;
}

/* A program that has just started may lose an end, so it is told again. */
static int end_ready(void *ctx)
{
	struct remote *r = ctx;
	uint64_t times;

	if (read(r->watches[WATCH_END].fd, &times, sizeof(times)) < 0)
		return 0;
	keys_end(&r->keys);
	send_keys(r);
	return 0;
}

static int signals_ready(void *ctx)
{
	struct remote *r = ctx;
	struct signalfd_siginfo info;

	while (read(r->watches[WATCH_SIGNALS].fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCONT)
			tty_raw(&r->tty);
		if (info.ssi_signo != SIGCONT && info.ssi_signo != SIGWINCH) {
			r->status = (int)info.ssi_signo;
			return ATTACH_SIGNALED + 1;
		}
		send_size(r);
	}
	return 0;
}

static int watch(struct remote *r)
{
	static const int numbers[] = {SIGWINCH, SIGCONT, SIGTERM, SIGHUP, SIGINT, SIGQUIT};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	r->watches[WATCH_KEYS] =
	    (struct client_watch){.fd = STDIN_FILENO, .ready = keys_ready, .ctx = r};
	r->watches[WATCH_SIGNALS] =
	    (struct client_watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
				  .ready = signals_ready,
				  .ctx = r};
	r->watches[WATCH_END] = (struct client_watch){
	    .fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
	    .ready = end_ready,
	    .ctx = r};
	if (r->watches[WATCH_SIGNALS].fd < 0 || r->watches[WATCH_END].fd < 0)
		return error_set(&r->err, errno, "cannot wait for signals");
	return 0;
}

static json_t *ask_for(const struct remote *r)
{
	json_t *body = json_object(), *argv;
	unsigned rows, cols;

	if (tty_size(&r->tty, &rows, &cols))
		json_object_update_new(body,
				       json_pack("{s:i, s:i}", "rows", rows, "cols", cols));
	if (!r->options->command)
		return body;
	argv = json_array();
	for (char *const *word = r->options->command; *word; word++)
		json_array_append_new(argv, json_string(*word));
	json_object_set_new(body, "argv", argv);
	return body;
}

static void follow(struct remote *r)
{
	const struct attach_api *o = r->options;
	cleanup_free char *path = NULL;
	json_t *body = o->terminal ? NULL : ask_for(r);
	struct transfer t = {.method = o->terminal ? "GET" : "POST",
			     .body = body,
			     .take = take_lines,
			     .ctx = r};
	int left;

	if (asprintf(&path, "/v1/sandboxes/%s/pty%s%s%s", o->sandbox,
		     o->terminal ? "/" : "", o->terminal ? o->terminal : "",
		     o->terminal ? "/attach" : "") < 0) {
		path = NULL;
		json_decref(body);
		return;
	}
	t.path = path;
	left = client_transfer(o->client, &t, 1, r->watches, WATCHES);
	if (left)
		r->result = left - 1;
	if (r->result == GOES_ON && !r->err.code)
		r->err = t.err;
	transfer_fini(&t);
	json_decref(body);
}

static void fini(struct remote *r)
{
	if (r->watches[WATCH_SIGNALS].fd >= 0)
		close(r->watches[WATCH_SIGNALS].fd);
	if (r->watches[WATCH_END].fd >= 0)
		close(r->watches[WATCH_END].fd);
	keys_fini(&r->keys);
	buf_fini(&r->line);
	free(r->terminal);
}

int attach_api(const struct attach_api *options, int *status, struct error *err)
{
	struct remote r = {
	    .options = options, .again = options->terminal, .result = GOES_ON};

	for (size_t i = 0; i < WATCHES; i++)
		r.watches[i].fd = -1;
	tty_init(&r.tty);
	r.keys.person = r.tty.is;
	if (watch(&r) == 0) {
		tty_raw(&r.tty);
		follow(&r);
		if (r.result != ATTACH_EXITED || r.status >= EXIT_BY_FORCE)
			tty_leave(&r.tty);
		tty_restore(&r.tty);
	}
	fini(&r);
	*status = r.status;
	if (r.result != GOES_ON)
		return r.result;
	*err = r.err;
	return err->code ? err->code : error_say(err, EIO, "the terminal is lost");
}
