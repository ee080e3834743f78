/*
 * Fuzz target: all of the DNS proxy: guests that ask it by UDP and TCP, the resolvers that
 * answer it, and `vmctl net`, on whose channel it is told of slots and what is open. The
 * target is all of these; sockets of the network are in pairs. The input is a script.
 * Whatever comes, a guest with a secret's domain has its answer behind that, and nothing
 * is in flight when the slots have gone.
 */
#include "tests/fuzz/script.h"
#include "tests/fuzz/sockets.h"
#include "tests/fuzz/tokens.h"

#include "vmctl/dns/dns.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SLOT_FIRST  16u
#define SLOTS	    2u
#define CLIENTS	    4u
#define QUIET_TURNS 3
#define HEADER	    12u /* bytes, of a DNS message */
#define COUNT(of)   (sizeof(of) / sizeof((of)[0]))

#define POLICY_16                                                                          \
	"{\"op\":\"policy\",\"slot\":16,\"policy\":{\"egress\":\"allow\",\"allow\":"       \
	"[\"a.test\",\"b.test\",\"*.c.test:80\"],\"secrets\":[{\"domain\":\"a.test\","     \
	"\"header\":\"X\"}]}}"

static const char *const words[] = {
    /* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): one message */
    POLICY_16,
    "{\"op\":\"policy\",\"slot\":17,\"policy\":{\"egress\":\"on\"}}",
    "{\"op\":\"policy\",\"slot\":16,\"policy\":{\"egress\":\"off\"}}",
    "{\"op\":\"policy\",\"slot\":17}",
    "{\"op\":\"drop\",\"slot\":16}",
    "{\"op\":\"drop\",\"slot\":17}",
    "{\"op\":\"upstream\",\"dns\":[\"9.9.9.9\",\"2620:fe::fe\"]}",
    "{\"op\":\"upstream\"}",
    "{\"op\":\"upstream\",\"dns\":[]}",
    "{\"op\":\"listen\"}",
    "{\"op\":\"resolve\",\"seq\":1,\"slot\":16,\"name\":\"a.test\"}",
    "{\"op\":\"resolve\",\"seq\":2,\"slot\":17,\"name\":\"b.test\"}",
    "{\"op\":\"",
    "\",\"slot\":",
    "\",\"name\":\"",
    "\",\"seq\":",
    "\",\"dns\":[\"",
    "\"]}",
    "\"}",
    "}",
    "resolve",
    "policy",
    "drop",
    "upstream",
    "127.0.0.1",
    "a.test",
    "16",
    "17",
    "65535",
    "-1",
    "{\"seq\":1}",
    "{\"seq\":2}",
};

/* Names as they are in messages. */
static const char *const names[] = {
    "\1a\4test", "\1b\4test", "\1x\1c\4test", "\1d\4test", "\3a.b\4test", "", "\1B\4TEST",
};

static const uint8_t types[] = {1, 28, 5, 65, 64, 255, 252, 16};

struct script {
	struct cursor in;
	int clients[CLIENTS];
};

static struct dns dns;
static int net = -1, udp = -1; /* our ends */
static struct sockaddr_un listener;
static socklen_t listener_len;

static void stop(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(&dns.loop);
}

static void drain(int fd)
{
	static char said[65536];

	while (fd >= 0 && recv(fd, said, sizeof(said), MSG_DONTWAIT) > 0)
		;
}

static void turn(const struct script *s)
{
	struct loop_timer timer;

	for (int i = 0; i < QUIET_TURNS; i++) {
		loop_timer_init(&timer, stop);
		loop_timer_set(&dns.loop, &timer, 0);
		loop_run(&dns.loop);
		loop_timer_cancel(&timer);
		drain(net);
		listen_as_resolvers();
		for (unsigned n = 0; s && n < CLIENTS; n++)
			drain(s->clients[n]);
	}
}

static void say(const struct script *s, const char *text)
{
	json_t *message = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(message)) /* its channel ends with what is none */
		send(net, text, strlen(text), MSG_NOSIGNAL);
	json_decref(message);
	turn(s);
}

static void put16(struct buf *out, unsigned value)
{
	const uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};

	buf_append(out, bytes, sizeof(bytes));
}

static void put_name(struct buf *out, uint8_t which)
{
	const char *name = names[which % COUNT(names)];

	buf_append(out, name, strlen(name) + 1);
}

/* A question as good ones are, or any bytes. */
static void put_question(struct script *s, struct buf *out)
{
	uint8_t kind = cursor_get_u8(&s->in), name = cursor_get_u8(&s->in);
	size_t len = cursor_get_u8(&s->in) % 64;
	const void *bytes = cursor_get_raw(&s->in, len);

	if (kind < 0x80) {
		put16(out, name);
		put16(out, 0x0100); /* recursion is desired */
		put16(out, 1);
		put16(out, 0);
		put16(out, 0);
		put16(out, kind & 1);
		put_name(out, name);
		put16(out, types[kind / 2 % COUNT(types)]);
		put16(out, 1);
	}
	if (bytes)
		buf_append(out, bytes, len);
}

static int step_udp(void *script)
{
	struct script *s = script;
	uint8_t slot = SLOT_FIRST + cursor_get_u8(&s->in) % (SLOTS + 1);
	struct buf out = {0};

	buf_append(&out, &slot, 1);
	put_question(s, &out);
	send(udp, buf_peek(&out), out.len, MSG_NOSIGNAL);
	turn(s);
	drain(udp);
	buf_fini(&out);
	return 0;
}

static int step_come(void *script)
{
	struct script *s = script;
	int *fd = &s->clients[cursor_get_u8(&s->in) % CLIENTS];

	coming = SLOT_FIRST + cursor_get_u8(&s->in) % (SLOTS + 1);
	if (*fd >= 0)
		close(*fd);
	*fd = __real_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(__real_connect(*fd, (struct sockaddr *)&listener, listener_len) == 0);
	turn(s);
	return 0;
}

static int step_leave(void *script)
{
	struct script *s = script;
	int *fd = &s->clients[cursor_get_u8(&s->in) % CLIENTS];

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	turn(s);
	return 0;
}

/* With its length in front; or in front of only a part, of nothing. */
static int step_tcp(void *script)
{
	struct script *s = script;
	int fd = s->clients[cursor_get_u8(&s->in) % CLIENTS];
	uint8_t more = cursor_get_u8(&s->in);
	struct buf question = {0}, out = {0};

	put_question(s, &question);
	put16(&out, (unsigned)question.len + (more < 0xf0 ? 0 : more));
	buf_append(&out, buf_peek(&question), question.len);
	if (fd >= 0)
		send(fd, buf_peek(&out), out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	turn(s);
	buf_fini(&question);
	buf_fini(&out);
	return 0;
}

/* Records: of a name or, as in most answers, of that which was asked for. */
static void put_record(struct script *s, struct buf *out)
{
	uint8_t name = cursor_get_u8(&s->in), type = cursor_get_u8(&s->in);
	size_t len = cursor_get_u8(&s->in) % 32;
	const void *data = cursor_get_raw(&s->in, len);

	if (name < 0x80)
		put16(out, 0xc00c);
	else
		put_name(out, name);
	put16(out, types[type % COUNT(types)]);
	put16(out, 1);
	put16(out, type >= 0x80 ? 0xffff : 0);
	put16(out, type);
	if (type & 0x40) { /* a name, for a CNAME */
		put16(out, (unsigned)strlen(names[len % COUNT(names)]) + 1);
		put_name(out, (uint8_t)len);
	} else {
		put16(out, (unsigned)len);
		if (data)
			buf_append(out, data, len);
	}
}

/* An answer to the newest question of a resolver: of records, or any bytes behind it. */
static int step_answer(void *script)
{
	struct script *s = script;
	struct resolver *resolver = &resolvers[cursor_get_u8(&s->in) % CLIENTS];
	size_t skip = resolver->tcp ? 2 : 0;
	uint8_t rcode = cursor_get_u8(&s->in), count = cursor_get_u8(&s->in) % 6;
	struct buf body = {0}, out = {0};

	for (unsigned i = 0; i < count; i++)
		put_record(s, &body);
	if (resolver->fd >= 0 && resolver->len >= skip + HEADER) {
		const uint8_t *query = resolver->query + skip;
		size_t end = HEADER, len = resolver->len - skip;

		while (end < len && query[end])
			end++;
		end = end + 5 < len ? end + 5 : len;
		if (resolver->tcp)
			put16(&out, (unsigned)(end + body.len));
		buf_append(&out, query, 2);
		put16(&out, 0x8180u | (rcode >= 0x80 ? 0x200u : 0) | rcode % 8u);
		put16(&out, 1);
		put16(&out, count);
		put16(&out, 0);
		put16(&out, 0);
		buf_append(&out, query + HEADER, end - HEADER);
		buf_append(&out, buf_peek(&body), body.len);
		send(resolver->fd, buf_peek(&out), out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	turn(s);
	buf_fini(&body);
	buf_fini(&out);
	return 0;
}

static int step_bytes(void *script)
{
	struct script *s = script;
	const struct resolver *resolver = &resolvers[cursor_get_u8(&s->in) % CLIENTS];
	size_t len = cursor_get_u8(&s->in);
	const void *bytes = cursor_get_raw(&s->in, len);

	if (bytes && resolver->fd >= 0)
		send(resolver->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	turn(s);
	return 0;
}

static int step_net(void *script)
{
	struct script *s = script;
	struct buf text = {0};

	tokens_spell(&text, &s->in, cursor_get_u8(&s->in) % 32, words, COUNT(words));
	say(s, (const char *)buf_peek(&text));
	buf_fini(&text);
	return 0;
}

static int step_opened(void *script)
{
	struct script *s = script;
	char text[32];

	snprintf(text, sizeof(text), "{\"seq\":%u}", dns.seq - cursor_get_u8(&s->in) % 4);
	say(s, text);
	return 0;
}

static script_step *const steps[] = {
    step_udp, step_answer, step_net,   step_opened, step_come,
    step_tcp, step_answer, step_bytes, step_leave,  step_udp,
};

static void begin_dns(void)
{
	const struct sockaddr own = {.sa_family =
					 AF_UNIX}; /* a name that the kernel makes */
	struct error err;
	int pair[2], datagrams[2];

	signal(SIGPIPE, SIG_IGN); /* as the program does */
	for (unsigned i = 0; i < RESOLVERS; i++)
		resolvers[i].fd = -1;
	tcp_theirs = __real_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	listener_len = sizeof(listener);
	if (bind(tcp_theirs, &own, sizeof(own.sa_family)) < 0 ||
	    listen(tcp_theirs, 8) < 0 ||
	    getsockname(tcp_theirs, (struct sockaddr *)&listener, &listener_len) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, datagrams) < 0 ||
	    dns_open(&dns, pair[0], &err) < 0)
		abort();
	net = pair[1];
	udp = datagrams[1];
	udp_theirs = datagrams[0];
	if (udp_listen(&dns, udp_theirs) < 0 || tcp_listen(&dns, tcp_theirs) < 0)
		abort();
}

/* Another guest is answered as if there had been nothing. */
static void check_dns(const struct script *s)
{
	static const uint8_t ask[] = "\x10ID\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1";
	static const uint8_t proxy[] = {198, 19, 0, 2};
	uint8_t answer[512];
	ssize_t n;

	say(s, words[0]);
	drain(udp);
	send(udp, ask, sizeof(ask) - 1, MSG_NOSIGNAL);
	turn(s);
	n = recv(udp, answer, sizeof(answer), MSG_DONTWAIT);
	must(n > (ssize_t)HEADER && memcmp(answer, "ID", 2) == 0);
	must(memcmp(answer + n - sizeof(proxy), proxy, sizeof(proxy)) == 0);
}

static void end(struct script *s)
{
	char drop[64];

	for (unsigned i = 0; i < CLIENTS; i++)
		if (s->clients[i] >= 0)
			close(s->clients[i]);
	turn(NULL);
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		if (!dns.slots.at[i])
			continue;
		snprintf(drop, sizeof(drop), "{\"op\":\"drop\",\"slot\":%u}", i);
		say(NULL, drop);
	}
	turn(NULL);
	must(!dns.in_flight && !dns.connection_count && list_empty(&dns.opening));
	for (unsigned i = 0; i < RESOLVERS; i++)
		must(resolvers[i].fd < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.in = cursor_over(data, size)};

	if (net < 0)
		begin_dns();
	for (unsigned i = 0; i < CLIENTS; i++)
		s.clients[i] = -1;
	say(&s, words[0]);
	say(&s, words[1]);
	say(&s, words[6]); /* resolvers */
	script_run(&s.in, steps, COUNT(steps), &s);
	check_dns(&s);
	end(&s);
	return 0;
}
