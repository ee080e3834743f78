/*
 * Terminals of programs: what is typed goes in by requests, what is shown comes as a
 * stream.
 *
 * Theory of operation: a session is a terminal of core/terminal.h, a directory in pty/. Of
 * one that was made here there is a struct session, by which it goes again: when its
 * program has ended, and a stream has told that, or LINGER_MS later for who reads it piece
 * by piece.
 */
#include "pffs/api/base64.h"
#include "pffs/api/pty_command.h"
#include "pffs/api/reply.h"
#include "pffs/api/text.h"
#include "pffs/core/sandbox.h"
#include "pffs/core/terminal.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINGER_MS   60000u
#define PIECE	    (48u << 10) /* of a screen, in one event */
#define READ_MS_MAX 30000
#define READ_MAX    (1 << 20)
#define LINES_MAX   1000

struct session {
	struct link link; /* on server->sessions */
	struct terminal *terminal;
	struct watch watch;
	struct loop_timer linger;
	struct loop *loop;
	char *label; /* what runs, without what is around it; or NULL */
	unsigned streams;
	bool told; /* a stream has told of the end */
};

/* A request about a terminal, which it keeps. */
struct viewer {
	struct terminal *terminal;
	struct session *session; /* or NULL */
	uint64_t at;
	struct buf out;
	bool ready, told;
	size_t max;	   /* of a read, in one piece, */
	uint64_t until_ns; /* and until when it waits */
};

static void session_free(struct session *session)
{
	loop_timer_cancel(&session->linger);
	list_del(&session->watch.link);
	list_del(&session->link);
	terminal_unref(session->terminal);
	free(session->label);
	free(session);
}

static void lingered(struct loop_timer *timer)
{
	struct session *session = container_of(timer, struct session, linger);
	struct terminal *t = session->terminal;

	if (session->streams)
		return; /* its end comes here again */
	if (t->sandbox && !t->removed)
		terminal_remove(t);
	session_free(session);
}

static void settle(struct session *session)
{
	if (session->terminal->ended && !session->streams)
		loop_timer_set(session->loop, &session->linger,
			       session->told || session->terminal->removed ? 0 : LINGER_MS);
}

static void something_happened(struct watch *watch)
{
	struct session *session = container_of(watch, struct session, watch);

	if (session->terminal->ended && !session->linger.deadline_ns)
		settle(session);
}

/* shellCmd, or the words of argv. */
static char *label_of(const json_t *body)
{
	const json_t *argv = json_object_get(body, "argv");
	const char *shell = json_string_value(json_object_get(body, "shellCmd"));
	size_t len;
	char *label = NULL;
	FILE *out;

	if (!json_is_array(argv))
		return shell ? strdup(shell) : NULL;
	out = open_memstream(&label, &len);
	for (size_t i = 0; out && i < json_array_size(argv); i++)
		fprintf(out, "%s%s", i ? " " : "",
			json_string_value(json_array_get(argv, i)));
	if (out)
		fclose(out);
	return label;
}

static struct session *session_new(struct server *server, struct terminal *t,
				   const json_t *body)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	*session = (struct session){
	    .terminal = terminal_ref(t), .loop = server->loop, .label = label_of(body)};
	loop_timer_init(&session->linger, lingered);
	/* Those of the terminal tell that somebody has it open. */
	watch_add(&server->core->events.watchers, &session->watch, something_happened);
	list_add_before(&server->sessions, &session->link);
	return session;
}

static struct session *session_of(struct server *server, const struct terminal *t)
{
	struct session *session;

	list_for_each (session, &server->sessions, struct session, link)
		if (session->terminal == t)
			return session;
	return NULL;
}

void pty_fini(struct server *server)
{
	while (!list_empty(&server->sessions))
		session_free(container_of(server->sessions.next, struct session, link));
}

static void viewer_end(struct request *r)
{
	struct viewer *viewer = r->state;
	struct session *session = viewer->session;

	if (session) {
		session->streams--;
		session->told |= viewer->told;
		settle(session);
	}
	terminal_unref(viewer->terminal);
	buf_fini(&viewer->out);
	free(viewer);
}

static struct viewer *viewer_new(struct request *r, struct terminal *t, bool stream)
{
	struct viewer *viewer = calloc(1, sizeof(*viewer));

	if (!viewer) {
		reply_say(r, ENOMEM, "no memory to show a terminal");
		return NULL;
	}
	viewer->terminal = terminal_ref(t);
	viewer->session = stream ? session_of(r->server, t) : NULL;
	if (viewer->session)
		viewer->session->streams++;
	r->state = viewer;
	r->end = viewer_end;
	return viewer;
}

/* What is shown from @at on, moved to what is kept. Return: how many bytes, or -errno. */
static ssize_t read_screen(const struct terminal *t, uint64_t *at, char *to, size_t len)
{
	if (*at < t->kept)
		*at = t->kept;
	return stream_read(&t->screen, *at, to, len);
}

static int put_event(struct buf *out, json_t *event)
{
	cleanup_free char *text = json_dumps(event, JSON_COMPACT);
	int r;

	json_decref(event);
	r = text ? buf_append(out, text, strlen(text)) : -ENOMEM;
	return r < 0 ? r : buf_append(out, "\n", 1);
}

/* Return: 0, or -EAGAIN, or another -errno; nothing is added at the end. */
static int next_event(struct viewer *viewer)
{
	const struct terminal *t = viewer->terminal;
	cleanup_free char *piece = NULL;
	ssize_t n;

	if (!viewer->ready) {
		viewer->ready = true;
		return put_event(&viewer->out, json_pack("{s:s, s:s}", "type", "pty_ready",
							 "session_id", t->name));
	}
	piece = malloc(PIECE);
	n = piece ? read_screen(t, &viewer->at, piece, PIECE) : -ENOMEM;
	if (n < 0)
		return (int)n;
	if (n) {
		viewer->at += (uint64_t)n;
		return put_event(&viewer->out,
				 json_pack("{s:s, s:o}", "type", "pty_data", "data_b64",
					   base64_json(piece, (size_t)n)));
	}
	if (!t->ended)
		return -EAGAIN;
	if (viewer->told)
		return 0;
	viewer->told = true;
	return put_event(&viewer->out, json_pack("{s:s, s:i}", "type", "pty_exit", "data",
						 t->exit_code & 0xff));
}

static ssize_t read_events(struct request *r, char *to, size_t len)
{
	struct viewer *viewer = r->state;
	int result = viewer->out.len ? 0 : next_event(viewer);

	if (result < 0)
		return result;
	if (len > viewer->out.len)
		len = viewer->out.len;
	memcpy(to, buf_peek(&viewer->out), len);
	buf_consume(&viewer->out, len);
	return (ssize_t)len;
}

static void show(struct request *r, struct terminal *t)
{
	if (!viewer_new(r, t, true))
		return;
	reply_header(r, "Cache-Control", "no-store");
	reply_stream(r, MHD_HTTP_OK, "application/x-ndjson", REPLY_OPEN, read_events);
	request_watch(r, &t->watchers, request_wake);
}

static int read_size(const struct request *r, struct agent_size *size, struct error *err)
{
	int64_t rows = size->rows, cols = size->cols;
	int result = request_number(r, "rows", 1, LINES_MAX, &rows, err);

	if (result == 0)
		result = request_number(r, "cols", 1, LINES_MAX, &cols, err);
	size->rows = (uint16_t)rows;
	size->cols = (uint16_t)cols;
	return result;
}

static struct terminal *make(struct request *r, struct error *err)
{
	struct agent_size size = {.rows = 24, .cols = 80};
	cleanup_free char *command = NULL;
	char name[SANDBOX_NAME_MAX + 1];
	uint32_t number = r->sb->last_terminal;
	struct terminal *t;

	if (read_size(r, &size, err) < 0 || pty_command(r->body, &command, err) < 0)
		return NULL;
	do
		snprintf(name, sizeof(name), "t%u", ++number);
	while (terminal_find(r->sb, name));
	t = terminal_new(r->sb, name, err);
	if (!t)
		return NULL;
	terminal_set_size(t, size);
	if ((!command || terminal_set_command(t, command, err) == 0) &&
	    terminal_start(t, err) == 0)
		return t;
	terminal_remove(t);
	return NULL;
}

static void create(struct request *r)
{
	struct error err;
	struct terminal *t = make(r, &err);

	if (!t) {
		reply_error(r, &err);
		return;
	}
	if (session_new(r->server, t, r->body))
		show(r, t);
	else
		reply_say(r, ENOMEM, "no memory for a session");
}

static struct terminal *find(struct request *r)
{
	struct terminal *t = terminal_find(r->sb, r->parameters[1]);

	if (!t)
		reply_say(r, ENOENT, "%s has no terminal %.64s", r->sb->name,
			  r->parameters[1]);
	return t;
}

static json_t *shown_terminal(struct server *server, const struct terminal *t)
{
	const struct session *session = session_of(server, t);
	const char *label = t->command ? t->command : "bash -l";

	if (session && session->label)
		label = session->label;
	return json_pack(
	    "{s:s, s:o, s:I, s:o}", "pty_id", t->name, "cmd_label",
	    text_json(label, strlen(label)), "created_at_ms",
	    (json_int_t)t->created.tv_sec * 1000 + t->created.tv_nsec / 1000000,
	    "exit_code", t->ended ? json_integer(t->exit_code & 0xff) : json_null());
}

static void list(struct request *r)
{
	json_t *all = json_array();
	const struct terminal *t;

	list_for_each (t, &r->sb->terminals, struct terminal, link)
		if (!t->removed)
			json_array_append_new(all, shown_terminal(r->server, t));
	reply_json(r, MHD_HTTP_OK, all);
}

static void attach(struct request *r)
{
	struct terminal *t = find(r);
	struct error err;

	if (!t)
		return;
	if (terminal_start(t, &err) < 0)
		reply_error(r, &err);
	else
		show(r, t);
}

static int type(const struct request *r, struct terminal *t, struct error *err)
{
	const char *text = NULL;
	cleanup_free char *keys = NULL;
	size_t len;
	int result = request_text(r, "data_b64", &text, err);

	if (result < 0)
		return result;
	keys = text ? base64_decode(text, &len) : NULL;
	if (!keys)
		return error_say(err, EINVAL, "data_b64 is to be base64");
	result = terminal_start(t, err);
	return result < 0 ? result : terminal_type(t, keys, len, err);
}

static int resize(const struct request *r, struct terminal *t, struct error *err)
{
	struct agent_size size = t->size;
	int result = read_size(r, &size, err);

	if (result == 0)
		terminal_set_size(t, size);
	return result;
}

static int end_it(const struct request *r, struct terminal *t, struct error *err)
{
	(void)r;
	(void)err;
	terminal_remove(t);
	return 0;
}

static void act(struct request *r,
		int (*fn)(const struct request *r, struct terminal *t, struct error *err))
{
	struct terminal *t = find(r);
	struct error err;

	if (!t)
		return;
	if (fn(r, t, &err) < 0)
		reply_error(r, &err);
	else
		reply_empty(r, MHD_HTTP_NO_CONTENT);
}

static void input_to(struct request *r)
{
	act(r, type);
}

static void resize_it(struct request *r)
{
	act(r, resize);
}

static void kill_it(struct request *r)
{
	act(r, end_it);
}

static void look(struct request *r)
{
	struct viewer *viewer = r->state;
	const struct terminal *t = viewer->terminal;
	uint64_t now = io_monotonic_ns();
	bool there = t->ended || viewer->at < t->screen.size;
	cleanup_free char *bytes = NULL;
	ssize_t n;

	if (!there && now < viewer->until_ns) {
		request_look(r, (viewer->until_ns - now) / 1000000u + 1);
		return;
	}
	bytes = malloc(viewer->max);
	n = bytes ? read_screen(t, &viewer->at, bytes, viewer->max) : -ENOMEM;
	if (n < 0)
		reply_say(r, (int)-n, "cannot read what the terminal showed");
	else
		reply_json(
		    r, MHD_HTTP_OK,
		    json_pack("{s:o, s:I, s:o}", "data_b64", base64_json(bytes, (size_t)n),
			      "seq", (json_int_t)viewer->at + n, "exit_code",
			      t->ended ? json_integer(t->exit_code & 0xff) : json_null()));
}

static void read_piece(struct request *r)
{
	struct terminal *t = find(r);
	int64_t since = 0, max = 64 << 10, timeout = 10000;
	struct viewer *viewer;
	struct error err;

	if (!t)
		return;
	if (request_number(r, "since_seq", 0, INT64_MAX, &since, &err) < 0 ||
	    request_number(r, "max_bytes", 1, INT64_MAX, &max, &err) < 0 ||
	    request_number(r, "timeout_ms", 0, INT64_MAX, &timeout, &err) < 0 ||
	    terminal_start(t, &err) < 0) {
		reply_error(r, &err);
		return;
	}
	viewer = viewer_new(r, t, false);
	if (!viewer)
		return;
	viewer->at = (uint64_t)since < t->screen.size ? (uint64_t)since : t->screen.size;
	viewer->max = max < READ_MAX ? (size_t)max : READ_MAX;
	viewer->until_ns =
	    io_monotonic_ns() +
	    (uint64_t)(timeout < READ_MS_MAX ? timeout : READ_MS_MAX) * 1000000u;
	request_watch(r, &t->watchers, look);
	request_look(r, 0);
}

#define PTY "/v1/sandboxes/{id}/pty"

const struct route pty_routes[] = {
    {"GET", PTY, list, ROUTE_SANDBOX},
    {"POST", PTY, create, ROUTE_SANDBOX | ROUTE_JSON},
    {"GET", PTY "/{t}/attach", attach, ROUTE_SANDBOX},
    {"POST", PTY "/{t}/input", input_to, ROUTE_SANDBOX | ROUTE_JSON | ROUTE_LARGE},
    {"POST", PTY "/{t}/resize", resize_it, ROUTE_SANDBOX | ROUTE_JSON},
    {"POST", PTY "/{t}/kill", kill_it, ROUTE_SANDBOX},
    {"POST", PTY "/{t}/read", read_piece, ROUTE_SANDBOX | ROUTE_JSON},
    {0},
};
