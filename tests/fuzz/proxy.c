/*
 * Fuzz target: a guest that speaks to the proxy for secrets, and the servers that it asks.
 * All of the proxy is there, over the real libmicrohttpd, but without TLS: the handshake is
 * what the certificate's callback is told of it. In place of libcurl is transfer.h, and
 * the target is `vmctl net`. The input is a script. Whatever comes, what a domain is asked
 * is right (transfer.h), a guest never sees a secret, and nothing is left of it all when
 * the guests have gone; meanwhile others are served.
 */
#include "tests/fuzz/handshake.h"
#include "tests/fuzz/script.h"
#include "tests/fuzz/tokens.h"
#include "tests/fuzz/transfer.h"

#include "pffs/core/net/ca.h"
#include "util/io.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS	    4u
#define SLOTS	    2u
#define SLOT_FIRST  16u
#define QUIET_TURNS 4
#define END_TURNS   100
#define COUNT(of)   (sizeof(of) / sizeof((of)[0]))
#define PIECE	    1024u
#define VALUE	    "Bearer s3cr3t-7c1f"

static const char *const domains[] = {"a.test", "b.test", "A.test", "c.test"};

#define POLICY_OFF_16                                                                      \
	"{\"op\":\"policy\",\"slot\":16,\"policy\":{\"egress\":\"off\",\"allow\":[],"      \
	"\"secrets\":[]}}"
#define POLICY_ON_17                                                                       \
	"{\"op\":\"policy\",\"slot\":17,\"policy\":{\"egress\":\"on\",\"allow\":[],"       \
	"\"secrets\":[{\"domain\":\"a.test\",\"header\":\"X-Key\",\"value\":\"" VALUE      \
	"\"}]}}"

static const char *const words[] = {
    "GET ",
    "POST ",
    "PUT ",
    "HEAD ",
    "DELETE ",
    "TRACE ",
    "CONNECT ",
    "M-SEARCH ",
    "/",
    "*",
    "/a?b=c",
    "%2f",
    "%00",
    "https://b/",
    " HTTP/1.1",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "Host: a.test\r\n",
    ":443",
    "b.test",
    "Host",
    "Content-Length: 3\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "Expect: 100-continue\r\n",
    "Connection: ",
    "close",
    "keep-alive",
    "Authorization",
    "X-Key",
    ": ",
    ":",
    ", ",
    ",",
    " ",
    "\t",
    "TE: trailers\r\n",
    "Upgrade: websocket\r\n",
    "Trailer",
    "Proxy-Authorization: c\r\n",
    "Content-Type: a/b\r\n",
    "Accept:\r\n",
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 200 OK",
    "HTTP/1.0 404",
    "HTTP/1.1 204",
    "HTTP/1.1 301",
    "Set-Cookie: a=1; b",
    "Content-Length",
    "Alt-Svc: h3",
    "Keep-Alive: timeout=5",
    "Connection: x-y, close",
    "0",
    "1",
    "67108865",
    "-1",
    "99999999999999999999",
    /* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): one message */
    POLICY_OFF_16,
    POLICY_ON_17,
    "{\"op\":\"policy\",\"slot\":17}",
    "{\"op\":\"drop\",\"slot\":16}",
    "{\"op\":\"drop\",\"slot\":17}",
    "{\"op\":\"listen\"}",
    "{\"op\":\"",
    "\",\"slot\":",
    "policy",
    "drop",
    "}",
    "{\"seq\":",
    "\",\"",
    "\":\"",
    "93.184.216.34",
    "10.0.0.1",
    "127.0.0.1",
    "198.19.0.20",
    "::ffff:10.9.8.7",
    "2606:2800:220:1::1",
    "fe80::1",
    "10.0.0.0/8",
    "\xff",
    "Authorization: mine\r\n",
    "authorization\t: mine\r\n",
    "HTTP/1.1 103",
    "X: \r\n",
};

struct client {
	int fd; /* -1: there is none */
	unsigned slot;
};

struct script {
	struct cursor in;
	bool knows; /* the secret is in the input */
	struct client clients[CLIENTS];
};

static struct proxy proxy;
static int net = -1; /* our end of the channel */

static void stop(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(&proxy.loop);
}

/* What a guest sees. */
static void listen_to(const struct script *s, int fd)
{
	static char answer[65536];
	ssize_t n;

	while (fd >= 0 && (n = recv(fd, answer, sizeof(answer), 0)) > 0)
		must(s->knows || !memmem(answer, (size_t)n, VALUE, strlen(VALUE)));
}

static void turn(struct script *s)
{
	static char said[65536];
	struct loop_timer timer;

	for (int i = 0; i < QUIET_TURNS; i++) {
		loop_timer_init(&timer, stop);
		loop_timer_set(&proxy.loop, &timer, 0);
		loop_run(&proxy.loop);
		loop_timer_cancel(&timer);
		while (recv(net, said, sizeof(said), 0) > 0)
			;
		for (unsigned n = 0; n < CLIENTS; n++)
			listen_to(s, s->clients[n].fd);
	}
}

/* `vmctl net` says something. Its channel ends with what is no object. */
static void say(struct script *s, const char *text)
{
	json_t *message = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(message))
		send(net, text, strlen(text), MSG_NOSIGNAL);
	json_decref(message);
	turn(s);
}

static void say_policies(struct script *s)
{
	say(s, "{\"op\":\"policy\",\"slot\":16,\"policy\":{\"egress\":\"on\",\"allow\":[],"
	       "\"secrets\":[{\"domain\":\"a.test\",\"header\":\"Authorization\",\"value\":"
	       "\"" VALUE "\"},{\"domain\":\"b.test\",\"header\":\"X-Key\",\"value\":"
	       "\"" VALUE "\"}]}}");
	say(s, "{\"op\":\"policy\",\"slot\":17,\"policy\":{\"egress\":\"allow\",\"allow\":"
	       "[\"a.test:443\",\"10.0.0.0/8:443\"],\"secrets\":[{\"domain\":\"a.test\","
	       "\"header\":\"Authorization\",\"value\":\"" VALUE "\"}]}}");
}

static void leave(struct script *s, struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	turn(s);
}

/* A connection of @slot, whose handshake names @domain; NULL: it has yet to say so. */
static void come(struct script *s, struct client *client, unsigned slot, const char *domain)
{
	struct hello from = {.from = {.sin_family = AF_INET}, .name = domain};
	gnutls_pcert_st *certificate;
	gnutls_privkey_t key;
	unsigned count;
	int fds[2];

	leave(s, client);
	from.from.sin_addr.s_addr = htonl(198u << 24 | 19u << 16 | slot);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	from.fd = fds[0];
	client->fd = fds[1];
	client->slot = slot;
	if (MHD_add_connection(proxy.daemon, fds[0], (struct sockaddr *)&from.from,
			       sizeof(from.from)) != MHD_YES)
		return;
	turn(s);
	hello = &from;
	if (domain &&
	    visit_certificate(NULL, NULL, 0, NULL, 0, &certificate, &count, &key) < 0)
		leave(s, client);
	hello = NULL;
}

static struct client *client(struct script *s)
{
	return &s->clients[cursor_get_u8(&s->in) % CLIENTS];
}

static void spell(struct script *s, struct buf *out, size_t len)
{
	tokens_spell(out, &s->in, len, words, COUNT(words));
}

static void tell_proxy(struct script *s, const struct client *to, const void *data,
		       size_t len)
{
	if (to->fd >= 0)
		send(to->fd, data, len, MSG_NOSIGNAL);
	turn(s);
}

static int step_come(void *script)
{
	struct script *s = script;
	struct client *who = client(s);
	unsigned slot = SLOT_FIRST + cursor_get_u8(&s->in) % (SLOTS + 1);
	uint8_t name = cursor_get_u8(&s->in);
	struct buf spelt = {0};

	if (name >= TOKENS_FROM)
		spell(s, &spelt, name % 8);
	come(s, who, slot,
	     spelt.len ? (const char *)buf_peek(&spelt) : domains[name % COUNT(domains)]);
	buf_fini(&spelt);
	return 0;
}

/* A request that is one: what is said of its length is true. */
static int step_request(void *script)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "HEAD"};
	struct script *s = script;
	const struct client *who = client(s);
	const char *method = methods[cursor_get_u8(&s->in) % COUNT(methods)];
	struct buf path = {0}, fields = {0}, body = {0};
	char *text;
	int len;

	spell(s, &path, cursor_get_u8(&s->in) % 8);
	spell(s, &fields, cursor_get_u8(&s->in) % 64);
	spell(s, &body, cursor_get_u8(&s->in) % 16);
	len = asprintf(
	    &text, "%s /%s HTTP/1.1\r\nHost: a.test\r\n%sContent-Length: %zu\r\n\r\n%s",
	    method, (const char *)buf_peek(&path), (const char *)buf_peek(&fields),
	    body.len, (const char *)buf_peek(&body));
	must(len > 0);
	tell_proxy(s, who, text, (size_t)len);
	free(text);
	buf_fini(&path);
	buf_fini(&fields);
	buf_fini(&body);
	return 0;
}

static int step_spelt(void *script)
{
	struct script *s = script;
	const struct client *who = client(s);
	struct buf text = {0};

	spell(s, &text, cursor_get_u8(&s->in));
	tell_proxy(s, who, buf_peek(&text), text.len);
	buf_fini(&text);
	return 0;
}

/* A body, or fields, of many bytes. */
static int step_much(void *script)
{
	static char many[PIECE * 16];
	struct script *s = script;
	const struct client *who = client(s);
	unsigned count = cursor_get_u8(&s->in) % 24;

	memset(many, 'x', sizeof(many));
	for (unsigned i = 0; i < count; i++)
		tell_proxy(s, who, many, sizeof(many));
	return 0;
}

static int step_leave(void *script)
{
	struct script *s = script;

	leave(s, client(s));
	return 0;
}

static int step_net(void *script)
{
	struct script *s = script;
	struct buf text = {0};

	spell(s, &text, cursor_get_u8(&s->in) % 32);
	say(s, (const char *)buf_peek(&text));
	buf_fini(&text);
	return 0;
}

/* The domain's addresses, or those of one that was asked for before. */
static int step_resolved(void *script)
{
	struct script *s = script;
	uint32_t seq = proxy.seq - cursor_get_u8(&s->in) % 4;
	unsigned count = cursor_get_u8(&s->in) % 4;
	json_t *addresses = json_array(), *message;
	char *text;

	while (count--) {
		struct buf address = {0};

		spell(s, &address, 1);
		json_array_append_new(
		    addresses, json_stringn((const char *)buf_peek(&address), address.len)
				   ?: json_null());
		buf_fini(&address);
	}
	message = json_pack("{s:I, s:o}", "seq", (json_int_t)seq, "addresses", addresses);
	text = json_dumps(message, 0);
	say(s, text);
	free(text);
	json_decref(message);
	return 0;
}

/* What the server of a script's choice is in the midst of; or NULL. */
static struct transfer *transfer(struct script *s)
{
	struct transfer *t = &transfers[cursor_get_u8(&s->in) % CLIENTS];

	return transfer_goes_on(t) ? t : NULL;
}

/* Some lines of a head, of which libcurl sees that they begin with that of a status. */
static int step_head(void *script)
{
	struct script *s = script;
	struct transfer *t = transfer(s);
	uint16_t length = cursor_get_u16(&s->in);
	uint8_t first = cursor_get_u8(&s->in);
	struct buf text = {0};
	char *rest = NULL;

	spell(s, &text, cursor_get_u8(&s->in) % 64);
	if (t && !t->has_head) {
		char status[32];

		t->length = length < 0x8000 ? length : -1;
		snprintf(status, sizeof(status), "HTTP/1.1 %u OK", 100 + first % 4 * 100u);
		transfer_line(t, status);
		for (char *line = strtok_r((char *)text.data + text.head, "\r\n", &rest);
		     line && transfer_goes_on(t); line = strtok_r(NULL, "\r\n", &rest))
			transfer_line(t, line);
		if (transfer_goes_on(t))
			transfer_line(t, "");
	}
	turn(s);
	buf_fini(&text);
	return 0;
}

static int step_body(void *script)
{
	static char many[PIECE * 16];
	struct script *s = script;
	struct transfer *t = transfer(s);
	size_t len = cursor_get_u8(&s->in) * (size_t)64;
	unsigned count = cursor_get_u8(&s->in) % 16;

	for (unsigned i = 0; t && i < count; i++)
		transfer_piece(t, many, len);
	turn(s);
	return 0;
}

static int step_end(void *script)
{
	struct script *s = script;
	struct transfer *t = transfer(s);
	uint8_t code = cursor_get_u8(&s->in);

	if (t && !(t->held.len && code % 4 == 0))
		transfer_end(t, code % 4 ? CURLE_RECV_ERROR : CURLE_OK);
	turn(s);
	return 0;
}

static script_step *const steps[] = {
    step_come, step_request, step_resolved, step_head, step_body, step_end,   step_request,
    step_net,  step_spelt,   step_resolved, step_much, step_head, step_leave,
};

static void begin_proxy(void)
{
	const struct sockaddr own = {.sa_family =
					 AF_UNIX}; /* a name that the kernel makes */
	struct error err;
	struct ca ca;
	int pair[2], fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	signal(SIGPIPE, SIG_IGN); /* as the program does */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) <
		0 ||
	    bind(fd, &own, sizeof(own.sa_family)) < 0 || listen(fd, 1) < 0 ||
	    proxy_open(&proxy, pair[0], &err) < 0 || server_open(&proxy, fd, &err) < 0 ||
	    ca_open(&ca, NULL, true, &err) < 0 ||
	    leaves_ca(&proxy.leaves, ca.certificate, ca.key, &err) < 0)
		abort();
	net = pair[1];
	ca_fini(&ca);
}

/* Another guest is served as if there had been nothing. */
static void check_proxy(struct script *s)
{
	static const char ask[] = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
	char answer[16] = "", resolved[80];
	struct client *who = &s->clients[0];
	struct transfer *t = NULL;
	int fd;

	say_policies(s);
	come(s, who, SLOT_FIRST, "a.test");
	must(who->fd >= 0);
	tell_proxy(s, who, ask, strlen(ask));
	snprintf(resolved, sizeof(resolved),
		 "{\"seq\":%u,\"addresses\":[\"93.184.216.34\"]}", proxy.seq);
	say(s, resolved);
	for (unsigned i = 0; i < TRANSFERS; i++)
		if (transfer_goes_on(&transfers[i]))
			t = &transfers[i];
	must(t);
	transfer_line(t, "HTTP/1.1 200 OK");
	transfer_line(t, "");
	transfer_end(t, CURLE_OK);
	fd = who->fd;
	who->fd = -1; /* nobody else reads what it gets */
	turn(s);
	must(recv(fd, answer, 12, 0) == 12 && strcmp(answer, "HTTP/1.1 200") == 0);
	close(fd);
}

static unsigned connections(void)
{
	return MHD_get_daemon_info(proxy.daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)
	    ->num_connections;
}

static void end(struct script *s)
{
	char drop[64];

	for (unsigned i = 0; i < CLIENTS; i++)
		leave(s, &s->clients[i]);
	for (unsigned i = 0; i < END_TURNS && connections(); i++)
		turn(s);
	must(!connections() && list_empty(&proxy.resolving) && !proxy.bodies);
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		if (!proxy.slots.at[i])
			continue;
		snprintf(drop, sizeof(drop), "{\"op\":\"drop\",\"slot\":%u}", i);
		say(s, drop);
	}
	for (unsigned i = 0; i < TRANSFERS; i++)
		must(!transfers[i].used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.in = cursor_over(data, size),
			   .knows = memmem(data, size, "s3cr3t", 6)};

	if (!proxy.daemon)
		begin_proxy();
	for (unsigned i = 0; i < CLIENTS; i++)
		s.clients[i].fd = -1;
	say_policies(&s);
	script_run(&s.in, steps, COUNT(steps), &s);
	for (unsigned i = 0; i < CLIENTS; i++)
		leave(&s, &s.clients[i]);
	for (unsigned i = 0; i < TRANSFERS;
	     i++) /* those of who is gone end by themselves */
		if (transfer_goes_on(&transfers[i]))
			transfer_end(&transfers[i], CURLE_RECV_ERROR);
	turn(&s);
	check_proxy(&s);
	end(&s);
	return 0;
}
