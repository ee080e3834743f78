/*
 * Ports of a guest, against a vmctl and guests that this test plays: what net/ports takes,
 * how bytes go, what a guest may do, and what becomes of connections when its machine goes.
 */
#include "tests/unit/forks.h"

#include "pffs/core/net/binder_process.h"
#include "pffs/core/net/connection.h"
#include "pffs/core/net/ports.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>

static struct error err;

static void set(struct sandbox *sb, const char *text, const char *want, const char *name)
{
	cleanup_free char *now = NULL;

	is_int(ports_set(sb, text, false, &err), 0, "%s", name);
	now = ports_text(sb);
	is_str(now, want, "and reads as its lines");
}

static void refuse(struct sandbox *sb, const char *text, int code, const char *sentence)
{
	cleanup_free char *before = ports_text(sb), *now = NULL;

	is_int(ports_set(sb, text, false, &err), -code, "a wrong line is refused");
	ok(strstr(err.text, sentence), "as \"%s\" says", err.text);
	now = ports_text(sb);
	is_str(now, before, "and nothing changes");
}

static void lines_are_checked(struct sandbox *sb)
{
	char many[PORTS_MAX * 8 + 8], *at = many;

	set(sb, "8000\n", "8000\n", "a port is set");
	set(sb, "9000 # the other\n\n  80\t\n# none\n9000", "80\n9000\n",
	    "comments, blanks and the same line twice are nothing");
	refuse(sb, "http", EINVAL, "1 to 65535");
	refuse(sb, "8000\n0", EINVAL, "1 to 65535");
	refuse(sb, "65536", EINVAL, "1 to 65535");
	refuse(sb, "8000 8080", EINVAL, "ADDRESS:PORT");
	refuse(sb, "8000 127.0.0.1:0", EINVAL, "ADDRESS:PORT");
	refuse(sb, "8000 ::1:8080", EINVAL, "ADDRESS:PORT");
	refuse(sb, "8000 127.0.0.1:8080 x", EINVAL, "ADDRESS:PORT");
	refuse(sb, "8000 0.0.0.0:8080", EPERM, "loopback");
	refuse(sb, "8000 [::]:8080", EPERM, "loopback");
	refuse(sb, "8000 192.0.2.1:8080", EPERM, "loopback");
	is_int(ports_set(sb, "81", true, &err), 0, "one is added");
	is_int(ports_set(sb, "81", true, &err), 0, "which may be there");
	sb->uid = core.options.uid + 1;
	refuse(sb, "8000 127.0.0.1:1023", EACCES, "who started");
	sb->uid = core.options.uid;
	refuse(sb, "82\n82 127.0.0.1:82", EEXIST, "already");
	for (unsigned i = 0; i <= PORTS_MAX; i++)
		at += snprintf(at, sizeof(many) - (size_t)(at - many), "%u\n", 1000 + i);
	refuse(sb, many, ENOSPC, "64");
	set(sb, "", "", "none is set");
}

static unsigned free_port(int *fd)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || bind(*fd, (const struct sockaddr *)&address, len) < 0 ||
	    getsockname(*fd, (struct sockaddr *)&address, &len) < 0)
		exit(1);
	return ntohs(address.sin_port);
}

static int try_connect(unsigned port)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
					    .sin_port = htons((uint16_t)port),
					    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = connect(fd, (const struct sockaddr *)&address, sizeof(address));
	int error = r < 0 ? errno : 0; /* of which the loop would leave nothing */

	spin(20);
	return error;
}

static void the_loopback_is_listened_at(struct sandbox *sb)
{
	int fd;
	unsigned port = free_port(&fd);
	char line[64];

	snprintf(line, sizeof(line), "8000 127.0.0.1:%u", port);
	refuse(sb, line, EADDRINUSE, line);
	close(fd);
	is_int(ports_set(sb, line, false, &err), 0, "a free one is listened at");
	is_int(try_connect(port), 0, "and can be connected to");
	snprintf(line, sizeof(line), "9000 127.0.0.1:%u", port);
	is_int(ports_set(sb, line, false, &err), 0, "it may change hands");
	is_int(try_connect(port), 0, "and can be connected to");
	is_int(ports_set(sb, "9000", false, &err), 0, "it is given up");
	/* The binder may have yet to close what it has handed over. */
	for (unsigned tries = 0; tries < 500 && try_connect(port) == 0; tries++)
		;
	is_int(try_connect(port), ECONNREFUSED, "and nobody listens");
	listen_to_core();
}

/* A client of port 8000: its end, non-blocking. */
static int connect_client(struct sandbox *sb)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		exit(1);
	connection_new(ports_find(sb, 8000), ends[0]);
	spin(SPIN_MS);
	return ends[1];
}

static void opened(uint32_t vm, uint32_t stream, uint32_t errnum)
{
	say(vm, stream, AGENT_PORT_OPENED, &errnum, 4);
}

/* The stream of the newest connection, which @vm is asked for. */
static uint32_t asked_stream(uint32_t vm)
{
	uint32_t streams[8] = {0};
	int count = heard(vm, AGENT_PORT_OPEN, streams);

	return count ? streams[count - 1] : 0;
}

/* What the guest was sent for @stream. Return: bytes; *@eof: and that it was all. */
static size_t sent_to(uint32_t vm, uint32_t stream, bool *eof)
{
	struct buf *agent = &channels[vm];
	struct agent_frame frame;
	size_t bytes = 0;

	*eof = false;
	listen_to_core();
	while (agent_next(agent, &frame, NULL) == 1) {
		if (frame.stream == stream && frame.type == AGENT_STDIN)
			bytes += frame.len;
		*eof |= frame.stream == stream && frame.type == AGENT_STDIN_EOF;
		buf_consume(agent, agent_frame_size(&frame));
	}
	return bytes;
}

/* Likewise, until it is @want bytes, for a while. */
static size_t sent_in_time(uint32_t vm, uint32_t stream, size_t want)
{
	size_t bytes = 0;
	bool eof;

	for (unsigned tries = 0; bytes < want && tries < 200; tries++) {
		bytes += sent_to(vm, stream, &eof);
		if (bytes < want)
			spin(SPIN_MS);
	}
	return bytes;
}

/* Return: bytes that come at @fd now, 0 at the end, or -errno. */
static ssize_t take(int fd, void *to, size_t room)
{
	ssize_t n = read(fd, to, room);

	return n < 0 ? -errno : n;
}

static void bytes_go_both_ways(struct sandbox *sb)
{
	cleanup_close int client = connect_client(sb);
	uint32_t stream = asked_stream(PARENT);
	const uint32_t taken = 8;
	char text[16] = "";
	size_t more = 0;
	bool eof;

	ok(agent_is_port(stream), "the guest is asked for a connection");
	opened(PARENT, stream, 0);
	is_int(write(client, "question", 8), 8, "a client writes");
	spin(SPIN_MS);
	is_int(sent_to(PARENT, stream, &eof), 8, "and the guest gets it");
	say(PARENT, stream, AGENT_STDIN_TAKEN, &taken, 4);
	say(PARENT, stream, AGENT_STDOUT, "answer", 6);
	is_int(take(client, text, sizeof(text)), 6, "the client gets what the guest says");
	is_str(text, "answer", "as it is");
	say(PARENT, stream, AGENT_PORT_EOF, NULL, 0);
	is_int(take(client, text, sizeof(text)), 0, "and its end");
	is_int(write(client, "more", 4), 4, "it writes on");
	shutdown(client, SHUT_WR);
	for (unsigned tries = 0; tries < 200 && !eof; tries++) {
		spin(SPIN_MS);
		more += sent_to(PARENT, stream, &eof);
	}
	is_int(more, 4, "which the guest gets as well");
	ok(eof, "and that it was all");
	say(PARENT, stream, AGENT_PORT_CLOSED, NULL, 0);
	is_int(sb->ports->connection_count, 0, "then it is over");
}

static void a_client_keeps_to_the_window(struct sandbox *sb)
{
	static uint8_t flood[AGENT_STDIN_WINDOW * 2];
	const uint32_t taken = 1000;
	int client = connect_client(sb);
	uint32_t stream = asked_stream(PARENT), streams[8];
	ssize_t written = write(client, flood, sizeof(flood));

	opened(PARENT, stream, 0);
	ok(written > (ssize_t)AGENT_STDIN_WINDOW, "a client writes more than the window");
	is_int(sent_in_time(PARENT, stream, AGENT_STDIN_WINDOW), AGENT_STDIN_WINDOW,
	       "of which that is sent");
	say(PARENT, stream, AGENT_STDIN_TAKEN, &taken, 4);
	is_int(sent_in_time(PARENT, stream, taken), taken, "and as much as was taken");
	close(client);
	say(PARENT, stream, AGENT_STDOUT, "x", 1);
	is_int(heard(PARENT, AGENT_PORT_CLOSE, streams), 1,
	       "a client that goes is told to the guest");
	is_int(sb->ports->connection_count, 0, "and forgotten");
}

static void what_a_client_does_not_read_is_bounded(struct sandbox *sb)
{
	static uint8_t flood[65536];
	cleanup_close int client = connect_client(sb);
	uint32_t stream = asked_stream(PARENT), streams[8];
	size_t got = 0, sent = 2 * sizeof(flood);
	ssize_t n;

	opened(PARENT, stream, 0);
	say(PARENT, stream, AGENT_STDOUT, flood, sizeof(flood));
	say(PARENT, stream, AGENT_STDOUT, flood, sizeof(flood));
	while ((n = take(client, flood, sizeof(flood))) > 0) {
		got += (size_t)n;
		spin(5);
	}
	is_int(got, sent, "a client that reads late gets all");
	ok(heard(PARENT, AGENT_PORT_TAKEN, streams) > 0, "for which the guest gets room");
	say(PARENT, stream, AGENT_PORT_CLOSED, NULL, 0);
}

static void a_refused_connection_ends(struct sandbox *sb)
{
	cleanup_close int client = connect_client(sb);
	char text[8];

	opened(PARENT, asked_stream(PARENT), ECONNREFUSED);
	is_int(take(client, text, sizeof(text)), 0, "a client whose port is shut is told");
	ok(strstr(sb->error.text, "port 8000"), "and `error` says it");
}

static void there_are_so_many_at_a_time(struct sandbox *sb)
{
	int clients[CONNECTIONS_MAX];

	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		int ends[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
			exit(1);
		clients[i] = ends[1];
		connection_new(ports_find(sb, 8000), ends[0]);
	}
	is_int(sb->ports->connection_count, CONNECTIONS_MAX, "there are 256 at a time");
	is_int(ports_set(sb, "9000", false, &err), 0, "the port goes");
	is_int(sb->ports->connection_count, 0, "and they with it");
	is_int(ports_set(sb, "8000", false, &err), 0, "it comes again");
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		close(clients[i]);
	spin(SPIN_MS);
	listen_to_core();
	buf_fini(&channels[PARENT]);
}

static void a_fork_has_the_ports_and_no_connection(struct sandbox *sb)
{
	static const char *const names[] = {"x"};
	cleanup_close int client = connect_client(sb);
	uint32_t stream = asked_stream(PARENT);
	cleanup_free char *text = NULL;
	struct sandbox *x;
	bool eof;

	opened(PARENT, stream, 0);
	order(sb, names, 1);
	is_int(write(client, "meanwhile", 9), 9, "a client writes while it is forked");
	spin(SPIN_MS);
	is_int(sent_to(PARENT, stream, &eof), 0, "which waits");
	answer_vms(PARENT + 1, 1);
	spin(SPIN_MS);
	is_int(sent_to(PARENT, stream, &eof), 9, "and then is the parent's");
	awake(PARENT + 1, 2);
	x = child(sb, "x");
	text = x ? ports_text(x) : NULL;
	is_str(text, "8000\n", "the fork has the ports");
	is_int(x ? x->ports->connection_count : 1, 0, "and no connection");
	say(PARENT, stream, AGENT_STDOUT, "on", 2);
	is_int(sb->ports->connection_count, 1, "the parent's goes on");
	if (x)
		sandbox_destroy(x);
	say(PARENT, stream, AGENT_PORT_CLOSED, NULL, 0);
}

/* Each lie is told by a machine of its own, which it ends. */
static void a_guest_that_lies_ends(struct sandbox *sb, enum agent_type type,
				   const void *payload, size_t len, const char *name)
{
	static const char *const names[] = {"liar"};
	static uint32_t vm = PARENT + 10;
	cleanup_close int client = -1;
	struct sandbox *liar;
	uint32_t stream;

	vm++;
	order(sb, names, 1);
	is_str(asked_for(), "fork", "vmctl is asked for another fork");
	answer_vms(vm, 1);
	awake(vm, 2);
	liar = child(sb, "liar");
	if (!ok(liar != NULL, "which wakes"))
		return;
	client = connect_client(liar);
	stream = asked_stream(vm);
	epoch = 2;
	opened(vm, stream, 0);
	say(vm, stream, type, payload, len);
	epoch = 1;
	is_int(liar->state, SANDBOX_DEAD, "%s ends the guest", name);
	is_int(liar->ports->connection_count, 0, "and its connections");
	sandbox_destroy(liar);
}

static void guests_are_checked(struct sandbox *sb)
{
	static uint8_t flood[AGENT_PORT_WINDOW + 1];
	const uint32_t one = 1;

	a_guest_that_lies_ends(sb, AGENT_STDOUT, flood, sizeof(flood),
			       "more than there is room for");
	a_guest_that_lies_ends(sb, AGENT_STDIN_TAKEN, &one, 4, "more taken than was given");
	a_guest_that_lies_ends(sb, AGENT_PORT_OPENED, &one, 3, "a short frame");
}

static void made(struct binder_order *order, int fd, const struct error *why)
{
	(void)order;
	ok(fd < 0, "is not taken");
	is_int(why ? why->code : 0, -ENOTCONN, "and it is said why");
}

static void gone(struct binder *binder)
{
	ok(!binder->mounted, "a mount goes");
}

/* Is the other end of a pipe open anywhere? */
static bool has_writers(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	poll(&pfd, 1, 0);
	return !(pfd.revents & POLLHUP);
}

/* The socket held the file system of the mount that had gone, and pffs waited for that to
 * end. */
static void a_socket_comes_when_the_mount_has_gone(void)
{
	struct binder binder;
	struct binder_order order = {.port = 8000, .done = made};
	struct binder_reply reply = {0};
	int orders[2], ends[2], held[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0 ||
	    pipe2(held, O_CLOEXEC) < 0)
		exit(1);
	ends[0] = orders[0];
	ends[1] = -1;
	binder_init(&binder, &loop, gone);
	is_int(binder_start(&binder, ends, &err), 0, "a binder that the test plays");
	binder_mounted(&binder);
	binder_order(&binder, &order);
	is_int(recv(orders[1], reply.name, sizeof(reply.name), MSG_DONTWAIT),
	       sizeof(reply.name), "is given an order");
	io_send_fd(orders[1], &(struct binder_reply){0}, sizeof(reply), -1, 0);
	io_send_fd(orders[1], &reply, sizeof(reply), held[1], 0);
	close(held[1]);
	spin(SPIN_MS);
	ok(list_empty(&binder.orders), "the order is done");
	ok(!has_writers(held[0]), "and what was made is let go of");
	binder_stop(&binder);
	close(orders[1]);
	close(held[0]);
}

int main(void)
{
	struct sandbox *sb;
	int ends[2];

	signal(SIGPIPE, SIG_IGN);
	begin_world();
	is_int(binder_fork(NULL, ends, &err), 0, "there is a binder");
	is_int(binder_start(&core.binder, ends, &err), 0, "which is used");
	a_socket_comes_when_the_mount_has_gone();
	sb = make_parent();
	lines_are_checked(sb);
	the_loopback_is_listened_at(sb);
	ports_set(sb, "8000", false, &err);
	bytes_go_both_ways(sb);
	a_client_keeps_to_the_window(sb);
	what_a_client_does_not_read_is_bounded(sb);
	a_refused_connection_ends(sb);
	there_are_so_many_at_a_time(sb);
	a_fork_has_the_ports_and_no_connection(sb);
	guests_are_checked(sb);
	end_world();
	return done_testing();
}
