/*
 * Fuzz target: who talks to the socket of the API. The whole server is there, over the
 * real libmicrohttpd and a core with a sandbox whose guest answers. The input is a script
 * of requests: a method, a path, headers and a body, spelt in the words of the API, or
 * plain bytes. Whatever comes, the server has to answer who asks properly behind that.
 */
#include "tests/fuzz/threads.h"
#include "tests/fuzz/tokens.h"
#include "tests/fuzz/world.h"

#include "pffs/api/server.h"

#include <signal.h>
#include <sys/un.h>

#define CLIENTS 4u

static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"};

static const char *const paths[] = {
    "/v1/sandboxes",
    "/v1/sandboxes/a",
    "/v1/sandboxes/a/changes",
    "/v1/sandboxes/a/diff/",
    "/v1/events",
    "/v1/sandboxes/a/events",
    "/v1/sandboxes/a/exec",
    "/v1/sandboxes/a/files/",
    "/v1/sandboxes/a/fork",
    "/v1/sandboxes/a/merge_into/",
    "/v1/sandboxes/a/freeze",
    "/v1/sandboxes/a/resume",
    "/v1/spaces/a/resume",
    "/v1/sandboxes/a/stats",
    "/v1/host",
    "/v1/sandboxes/a/merge",
    "/v1/openapi.json",
    "/v1/sandboxes/a/pty",
    "/v1/sandboxes/a/pty/t",
    "/v1/sandboxes/a/replay",
    "/v1/sandboxes/a/runs",
    "/v1/sandboxes/a/runs/1",
    "/v1/sandboxes/a/interrupt",
    "/v1/sandboxes/a/kill",
    "/v1/sandboxes/a/reset",
    "/v1/spaces/a",
    "/v1/templates",
    "/v1/templates/default",
    "/v1/sandboxes/a/forks/b",
    "/v1/sandboxes/b",
    "/",
};

static const char *const words[] = {
    "{\"",	 "\":\"",     "\",\"",	   "\"}",     "\":",	     ",\"",
    "}",	 "[",	      "]",	   "true",    "false",	     "null",
    "code",	 "language",  "python",	   "bash",    "name",	     "template",
    "default",	 "config",    "count",	   "names",   "memory_mib",  "exec_timeout",
    "argv",	 "cwd",	      "env",	   "stdin",   "timeout_ms",  "timeout_seconds",
    "wait",	 "follow",    "max_bytes", "signal",  "interrupt",   "kill",
    "rows",	 "cols",      "data",	   "command", "size",	     "files",
    "favour",	 "ours",      "theirs",	   "fork",    "forks",	     "persistent",
    "path",	 "recursive", "tar",	   "format",  "json",	     "list",
    "patch",	 "since",     "since_seq", "n",	      "/stop",	     "/stdin",
    "/stdout",	 "/output",   "/figures/", "/attach", "/input",	     "/resize",
    "/read",	 "?",	      "&",	   "=",	      "%2f",	     "%00",
    "..",	 "/",	      "1",	   "0",	      "-1",	     "9223372036854775807",
    "1e9",	 "\\u0000",   "\\ud800",   "a",	      "b",	     "d",
    "egress",	 "allow",     "on",	   "off",     "example.com", ":443",
    "secrets",	 "ports",     "8000",	   "mode",    "uid",	     "close",
    "bytes=0-1", "net",	      "log",	   "parent",  "directory",   "keep",
};

static const char websocket[] =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

static const char *const headers[] = {
    "",
    "Range: bytes=1-3\r\n",
    "Content-Type: application/json\r\n",
    "Accept: text/event-stream\r\n",
    "Content-Type: application/x-tar\r\n",
    "Expect: 100-continue\r\n",
    websocket,
    "Last-Event-ID: 1\r\n",
    "Accept: application/x-tar\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Origin: http://example.com\r\n",
    "If-None-Match: *\r\n",
};

#define COUNT(of) (sizeof(of) / sizeof((of)[0]))

struct script {
	struct cursor in;
	struct world w;
	struct server server;
	struct sockaddr_un address;
	int clients[CLIENTS];
};

static int connect_to(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		abort();
	return fd;
}

/* The connection that the script is about; it may be an old one. */
static int *client(struct script *s)
{
	int *fd = &s->clients[cursor_get_u8(&s->in) % CLIENTS];

	if (*fd < 0)
		*fd = connect_to(&s->address);
	return fd;
}

static void say_to_server(struct script *s, int fd, const void *data, size_t len)
{
	static char answer[65536];

	send(fd, data, len, MSG_NOSIGNAL);
	world_turn(&s->w);
	while (recv(fd, answer, sizeof(answer), 0) > 0)
		;
}

static void spell(struct script *s, struct buf *out, size_t len)
{
	tokens_spell(out, &s->in, len, words, COUNT(words));
}

static void add_text(struct buf *out, const char *text)
{
	buf_append(out, text, strlen(text));
}

/* A request that is one: what is said of its length is true. */
static int step_request(void *script)
{
	struct script *s = script;
	int fd = *client(s);
	uint8_t method = cursor_get_u8(&s->in), path = cursor_get_u8(&s->in);
	uint8_t path_len = cursor_get_u8(&s->in) % 32, header = cursor_get_u8(&s->in);
	struct buf body = {0}, all = {0};
	char length[64];

	add_text(&all, methods[method % COUNT(methods)]);
	add_text(&all, " ");
	add_text(&all, paths[path % COUNT(paths)]);
	spell(s, &all, path_len);
	spell(s, &body, cursor_get_u8(&s->in));
	snprintf(length, sizeof(length), "Content-Length: %zu\r\n\r\n", body.len);
	add_text(&all, " HTTP/1.1\r\nHost: localhost\r\n");
	add_text(&all, headers[header % COUNT(headers)]);
	add_text(&all, length);
	buf_append(&all, buf_peek(&body), body.len);
	say_to_server(s, fd, buf_peek(&all), all.len);
	buf_fini(&body);
	buf_fini(&all);
	return 0;
}

static int step_bytes(void *script)
{
	struct script *s = script;
	int fd = *client(s);
	size_t len = cursor_get_u8(&s->in);
	const void *bytes = cursor_get_raw(&s->in, len);

	if (bytes)
		say_to_server(s, fd, bytes, len);
	return 0;
}

static int step_spelt(void *script)
{
	struct script *s = script;
	int fd = *client(s);
	struct buf text = {0};

	spell(s, &text, cursor_get_u8(&s->in));
	say_to_server(s, fd, buf_peek(&text), text.len);
	buf_fini(&text);
	return 0;
}

static int step_leave(void *script)
{
	struct script *s = script;
	int *fd = client(s);

	close(*fd);
	*fd = -1;
	world_turn(&s->w);
	return 0;
}

static script_step *const steps[] = {
    step_request, step_request, step_request, step_request,
    step_bytes,	  step_spelt,	step_leave,   step_request,
};

static void begin(struct script *s)
{
	struct server_options options = {.socket = s->address.sun_path};
	struct error err;

	world_begin(&s->w);
	s->address.sun_family = AF_UNIX;
	snprintf(s->address.sun_path, sizeof(s->address.sun_path), "%.80s/http.sock",
		 world_images());
	if (server_listen(&s->server, &s->w.loop, &s->w.core, &options, &err) < 0 ||
	    server_begin(&s->server, &err) < 0)
		abort();
	for (unsigned i = 0; i < CLIENTS; i++)
		s->clients[i] = -1;
}

/* The server is as it was. */
static void check_server(struct script *s)
{
	static const char ask[] = "GET /v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
	char answer[16] = "";
	int fd = connect_to(&s->address);

	send(fd, ask, strlen(ask), MSG_NOSIGNAL);
	world_turn(&s->w);
	if (recv(fd, answer, 12, 0) != 12 || strcmp(answer, "HTTP/1.1 200") != 0)
		abort();
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.in = cursor_over(data, size)};

	signal(SIGPIPE, SIG_IGN); /* as pffs does */
	begin(&s);
	script_run(&s.in, steps, COUNT(steps), &s);
	check_server(&s);
	for (unsigned i = 0; i < CLIENTS; i++)
		if (s.clients[i] >= 0)
			close(s.clients[i]);
	server_fini(&s.server);
	while (threads_working)
		threads_turn(&s.w);
	world_end(&s.w);
	return 0;
}
