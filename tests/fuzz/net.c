/*
 * Fuzz target: what `vmctl net` is told: by the broker, by the DNS proxy and the proxy for
 * secrets, which a guest may have taken over, and by the log of connections, which has a
 * guest's packets. All of it is there but what talks to the kernel: no namespace is made,
 * and rules go nowhere. The input is a script of messages, spelt in the words of the
 * protocols. In no rule is there anything but what rules have; and when all VMs have gone,
 * no slot is taken.
 */
#include "tests/fuzz/script.h"
#include "tests/fuzz/tokens.h"

#include "util/io.h"
#include "vmctl/net/ender.h"
#include "vmctl/net/maker.h"
#include "vmctl/net/net_parts.h"
#include "vmctl/net/sweep.h"
#include "vmctl/spawn.h"

#include <ctype.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <signal.h>
#include <stdalign.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUIET_TURNS 3
#define COUNT(of)   (sizeof(of) / sizeof((of)[0]))

#define POLICY_1                                                                           \
	"{\"op\":\"policy\",\"vm\":1,\"seq\":1,\"policy\":{\"egress\":\"allow\","          \
	"\"allow\":"                                                                       \
	"[\"a.test\",\"*.b.test:80,443\",\"203.0.113.0/24:8000-8010\",\"2001:db8::/32\"]," \
	"\"secrets\":[{\"domain\":\"a.test\",\"header\":\"X\",\"value\":\"y\"}]}}"
#define OPEN_16                                                                            \
	"{\"op\":\"open\",\"seq\":1,\"slot\":16,\"name\":\"a.test\",\"addresses\":"        \
	"[{\"address\":\"203.0.113.7\",\"ttl\":60},{\"address\":\"2001:db8::7\"}]}"
#define OPEN_17                                                                            \
	"{\"op\":\"open\",\"seq\":2,\"slot\":17,\"name\":\"x.b.test\",\"addresses\":"      \
	"[{\"address\":\"10.0.0.1\",\"ttl\":1}]}"

static const char *const words[] = {
    /* Whole messages, */
    /* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): one message */
    POLICY_1,
    "{\"op\":\"policy\",\"vm\":2,\"seq\":2,\"policy\":{\"egress\":\"on\"}}",
    "{\"op\":\"policy\",\"vm\":1,\"seq\":3,\"policy\":{\"egress\":\"off\"}}",
    "{\"op\":\"inherit\",\"vm\":3,\"parent\":1}",
    "{\"op\":\"take\",\"vm\":1}",
    "{\"op\":\"take\",\"vm\":2}",
    "{\"op\":\"take\",\"vm\":3}",
    "{\"op\":\"gone\",\"vm\":1}",
    "{\"op\":\"uplink\"}",
    "{\"op\":\"network\",\"closed\":[\"192.0.2.1\",\"2001:db8::1\"],\"dns\":[\"9.9.9.9\"]}",
    OPEN_16,
    OPEN_17,
    "{\"op\":\"denied\",\"slot\":16,\"name\":\"c.test\",\"type\":\"A\",\"reason\":\"x\"}",
    "{\"op\":\"lost\",\"slot\":16,\"count\":7}",
    "{\"op\":\"resolve\",\"seq\":1,\"slot\":16,\"name\":\"a.test\"}",
    "{\"op\":\"log\",\"slot\":16,\"name\":\"a.test\",\"address\":\"203.0.113.7\"}",
    "{\"seq\":1,\"addresses\":[\"203.0.113.7\"]}",
    /* and parts of others. */
    "{\"op\":\"",
    "\",\"vm\":",
    "\",\"slot\":",
    "\",\"seq\":",
    ",\"name\":\"",
    "\",\"addresses\":[{\"address\":\"",
    "\"},{\"address\":\"",
    "\",\"ttl\":",
    "\"}]}",
    ",\"policy\":{\"egress\":\"allow\",\"allow\":[\"",
    "\"]}}",
    ",\"closed\":[\"",
    "\"]}",
    "}",
    "\",\"",
    "\":\"",
    "\":",
    "policy",
    "inherit",
    "take",
    "gone",
    "network",
    "open",
    "denied",
    "lost",
    "log",
    "resolve",
    "parent",
    "reason",
    "count",
    "a.test",
    "x.b.test",
    "*.b.test",
    "10.0.0.0/8",
    "203.0.113.7",
    "203.0.113.0/24",
    "::ffff:10.0.0.1",
    "2001:db8::7",
    "0.0.0.0/0",
    "127.0.0.1",
    ":80",
    ":1-65535",
    ":1,3,5,7-9",
    "16",
    "17",
    "65000",
    "1",
    "2",
    "3",
    "0",
    "-1",
    "4294967297",
    "9223372036854775807",
    "1e9",
    "null",
    "true",
    "[]",
    "{}",
    "\\u0000",
    "\\u000a",
    "; flush ruleset;",
};

static struct net net;
static int broker = -1, helpers[2] = {-1, -1}, maker = -1; /* as they speak */
static unsigned started;
static char folder[128];

pid_t __wrap_spawn(const char *program, const char *const argv[],
		   const struct spawn_options *options, struct error *err);
ssize_t __wrap_readlink(const char *path, char *to, size_t room);
int __wrap_maker_start(struct error *err);
int __wrap_ender_start(struct ender *ender, struct error *err);
int __wrap_ender_add(struct ender *ender, struct slot_made *made);
int __wrap_sweep(bool (*used)(void *data, unsigned number), void *data, struct error *err);
int __wrap_nft_run_cmd_from_buffer(struct nft_ctx *nft, const char *text);

/* The two programs are the target. */
pid_t __wrap_spawn(const char *program, const char *const argv[],
		   const struct spawn_options *options, struct error *err)
{
	(void)program;
	(void)argv;
	(void)err;
	if (started == COUNT(helpers) || options->count != 1)
		abort();
	helpers[started++] = fcntl(options->fds[0], F_DUPFD_CLOEXEC, 3);
	return 1;
}

/* Beside which they would be: all are the same folder. */
ssize_t __wrap_readlink(const char *path, char *to, size_t room)
{
	int len = snprintf(to, room, "%s/vmctl-net", folder);

	if (strcmp(path, "/proc/self/exe") != 0 || len < 0 || (size_t)len >= room)
		abort();
	return len;
}

/* So is who makes slots, and who ends them. */
int __wrap_maker_start(struct error *err)
{
	int pair[2];

	if (peer_pair(pair, err) < 0)
		abort();
	maker = pair[1];
	return pair[0];
}

int __wrap_ender_start(struct ender *ender, struct error *err)
{
	(void)ender;
	(void)err;
	return 0;
}

int __wrap_ender_add(struct ender *ender, struct slot_made *made)
{
	(void)ender;
	close(made->tap);
	return 0;
}

int __wrap_sweep(bool (*used)(void *data, unsigned number), void *data, struct error *err)
{
	(void)used;
	(void)data;
	(void)err;
	return 0;
}

/* "; flush ruleset;" would be seen as well: rules that are written end at a line's end. */
int __wrap_nft_run_cmd_from_buffer(struct nft_ctx *nft, const char *text)
{
	(void)nft;
	for (const char *at = text; *at; at++)
		if (!isalnum((unsigned char)*at) && !strchr(" \n\t{}.,:;-_/@=<>\"", *at))
			abort();
	if (strstr(text, "flush ruleset"))
		abort();
	return 0;
}

static void stop(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(&net.loop);
}

static int nothing(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* Each slot that is asked for is made, with what is no tap. */
static void make_slots(void)
{
	alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {0};
	char text[64];
	ssize_t n;

	while ((n = recv(maker, text, sizeof(text), MSG_DONTWAIT)) > 0) {
		struct iovec iov = {.iov_base = text, .iov_len = (size_t)n};
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
		int tap = nothing();

		io_add_fds(&msg, room, &tap, 1);
		sendmsg(maker, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(tap);
	}
}

/* What it says is thrown away, with the descriptors. */
static void turn(void)
{
	static char said[65536];
	const int fds[] = {broker, helpers[0], helpers[1]};
	struct loop_timer timer;

	for (int i = 0; i < QUIET_TURNS; i++) {
		loop_timer_init(&timer, stop);
		loop_timer_set(&net.loop, &timer, 0);
		loop_run(&net.loop);
		loop_timer_cancel(&timer);
		make_slots();
		for (size_t n = 0; n < COUNT(fds); n++)
			while (recv(fds[n], said, sizeof(said), MSG_DONTWAIT) > 0)
				;
	}
}

static int say(struct cursor *in, int fd)
{
	struct buf text = {0};

	tokens_spell(&text, in, cursor_get_u8(in) % 64, words, COUNT(words));
	if (text.len)
		send(fd, buf_peek(&text), text.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	turn();
	buf_fini(&text);
	return 0;
}

static int step_broker(void *script)
{
	return say(script, broker);
}

static int step_dns(void *script)
{
	return say(script, helpers[0]);
}

static int step_proxy(void *script)
{
	return say(script, helpers[1]);
}

/* The first bytes of a packet, as the kernel has logged them, from a slot that there may
 * be. */
static int step_flow(void *script)
{
	static const char verdicts[] = "ANCLOX?";
	struct cursor *in = script;
	uint8_t verdict = cursor_get_u8(in), six = cursor_get_u8(in);
	size_t len = cursor_get_u8(in) % 65;
	const void *bytes = cursor_get_raw(in, len);
	uint8_t packet[64] = {0};
	struct flow flow;

	if (!bytes)
		return 1;
	memcpy(packet, bytes, len);
	if (six & 1)
		memcpy(packet + 8, "\xfd\x70\x66\x66\x73\x00\x00\x01\0\0\0\0\0\0\0\x10",
		       16);
	else
		memcpy(packet + 12, "\xc6\x13\x00\x10", 4);
	if (six & 2)
		packet[0] = six & 1 ? 0x60 : 0x45;
	if (!flow_parse(packet, len, &flow))
		return 0;
	flow.verdict = verdicts[verdict % (sizeof(verdicts) - 1)];
	records_flow(&net, &flow);
	return 0;
}

static int step_time(void *script)
{
	struct slot *slot;

	(void)script;
	for (unsigned i = 0; i < NET_BUCKETS; i++)
		list_for_each (slot, &net.slots[i], struct slot, link)
			records_tell(&net, slot);
	turn();
	return 0;
}

static script_step *const steps[] = {
    step_broker, step_dns, step_broker, step_proxy, step_flow, step_dns, step_time,
};

static void gone(struct peer *peer)
{
	(void)peer;
	abort();
}

/* There is a file of that name, for as long as it is looked for. */
static int start_helpers(struct error *err)
{
	char path[192];
	int r;

	snprintf(folder, sizeof(folder), "%s/net.XXXXXX", getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(folder))
		abort();
	snprintf(path, sizeof(path), "%s/vmctl-names", folder);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700));
	r = helpers_start_dns(&net, err);
	if (r == 0)
		r = helpers_start_proxy(&net, err);
	unlink(path);
	rmdir(folder);
	return r;
}

static void begin_net(void)
{
	struct error err;
	int pair[2];

	signal(SIGPIPE, SIG_IGN); /* as the program does */
	net_init(&net);
	net.hub.dns_udp = nothing();
	net.hub.dns_tcp = nothing();
	net.hub.proxy_tcp = nothing();
	if (loop_init(&net.loop, &err) < 0 || ruleset_open(&net.hub.rules, &err) < 0 ||
	    peer_pair(pair, &err) < 0 ||
	    peer_open(&net.broker, &net.loop, pair[0], orders_message, gone, &err) < 0 ||
	    start_helpers(&err) < 0)
		abort();
	broker = pair[1];
	rulebook_init(&net.book, &net.hub);
	if (pool_init(&net, &err) < 0)
		abort();
}

/* Slots that are free go as well, so that each input has the same. */
static void drop_free(void)
{
	struct slot *slot;

	loop_timer_cancel(&net.sweep);
	loop_timer_cancel(&net.rest);
	list_for_each (slot, &net.free, struct slot, link) {
		if (slot->rules)
			abort();
		close(slot->made.tap);
		list_del(&slot->link);
		free(slot);
	}
	net.free_count = net.last_slot = 0;
	net.free_wanted = NET_POOL;
}

/* All VMs go, whatever they are called. */
static void end(void)
{
	struct member *member;

	for (unsigned i = 0; i < NET_BUCKETS; i++)
		list_for_each (member, &net.members[i], struct member, link) {
			json_t *message = json_pack("{s:s, s:I}", "op", "gone", "vm",
						    (json_int_t)member->vm);

			orders_message(&net.broker, message);
			json_decref(message);
		}
	while (!list_empty(&net.ordered))
		turn();
	turn();
	for (unsigned i = 0; i < NET_BUCKETS; i++)
		if (!list_empty(&net.slots[i]) || !list_empty(&net.members[i]))
			abort();
	if (!list_empty(&net.waiting) || !list_empty(&net.answers) ||
	    !list_empty(&net.book.all) || net.coming)
		abort();
	drop_free();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor in = cursor_over(data, size);

	if (broker < 0)
		begin_net();
	loop_timer_set(&net.loop, &net.make, 0);
	turn();
	script_run(&in, steps, COUNT(steps), &in);
	end();
	return 0;
}
