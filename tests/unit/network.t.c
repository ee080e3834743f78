/*
 * What the guest's agent does for its network, in a network namespace that stands for the
 * guest, with the gateway in another one: the interface is as docs/network.md says, and a
 * fork loses the connections that its parent has to others, and nothing else.
 */
#include "guest/agent/network.h"
#include "tests/unit/tap.h"
#include "util/io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWN	   "::ffff:198.18.0.2"
#define GATEWAY	   "::ffff:198.18.0.1"
#define GATEWAY_V6 "fd70:6666:7300::1"
#define PORT	   8000
#define PATIENCE   10000 /* ms */

static bool run(const char *command)
{
	return system(command) == 0; /* NOLINT(cert-env33-c): a test's own commands */
}

/* A stream socket, of IPv4 where @address is a mapped one and @plain is wanted. */
static int open_stream(const char *address, uint16_t port, bool plain,
		       struct sockaddr_storage *at, socklen_t *len)
{
	struct sockaddr_in6 *v6 = (void *)at;
	struct sockaddr_in *v4 = (void *)at;

	*at = (struct sockaddr_storage){0};
	if (plain) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		inet_pton(AF_INET, address + strlen("::ffff:"), &v4->sin_addr);
		*len = sizeof(*v4);
	} else {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		inet_pton(AF_INET6, address, &v6->sin6_addr);
		*len = sizeof(*v6);
	}
	return socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int listen_at(const char *address, uint16_t port)
{
	struct sockaddr_storage at;
	socklen_t len;
	int fd = open_stream(address, port, false, &at, &len), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (void *)&at, len) < 0 || listen(fd, 16) < 0)
		return -1;
	return fd;
}

/* Return: a connection, or -1. */
static int connect_to(const char *address, uint16_t port, bool plain)
{
	struct sockaddr_storage at;
	socklen_t len;
	int fd = open_stream(address, port, plain, &at, &len);

	if (connect(fd, (void *)&at, len) == 0)
		return fd;
	diag("connect to %s: %s", address, strerror(errno));
	close(fd);
	return -1;
}

/* The gateway: it takes connections, and keeps them. */
static _Noreturn void be_gateway(int ready_fd, int go_fd)
{
	char byte = 0;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNET) < 0 || write(ready_fd, &byte, 1) < 0 ||
	    read(go_fd, &byte, 1) != 1 || !run("ip link set lo up") ||
	    !run("ip link set other address 02:70:66:66:73:01 up") ||
	    !run("ip addr add 198.18.0.1/30 dev other") ||
	    !run("ip -6 addr add fd70:6666:7300::1/64 dev other nodad"))
		_exit(1);
	fd = listen_at("::", PORT);
	if (fd < 0 || write(ready_fd, &byte, 1) < 0)
		_exit(1);
	while (accept(fd, NULL, NULL) >= 0)
		;
	_exit(1);
}

/* Two namespaces and a wire between them, whose end in ours is eth0. */
static pid_t make_world(void)
{
	int ready[2], go[2];
	char byte = 0, command[64];
	pid_t pid;

	if ((unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) ||
	    pipe(ready) < 0 || pipe(go) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		be_gateway(ready[1], go[0]);
	close(ready[1]);
	snprintf(command, sizeof(command), "ip link set other netns %d", (int)pid);
	if (read(ready[0], &byte, 1) != 1 ||
	    !run("ip link add eth0 address 02:70:66:66:73:02 type veth peer name other") ||
	    !run(command) || write(go[1], &byte, 1) != 1 || read(ready[0], &byte, 1) != 1)
		return -1;
	return pid;
}

static bool says(const char *command, const char *what)
{
	char line[512];
	FILE *f = popen(command, "r"); /* NOLINT(cert-env33-c) */
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found = found || strstr(line, what);
	if (f)
		pclose(f);
	return found;
}

static void test_up(void)
{
	network_up();
	ok(says("ip -4 addr show dev eth0", "inet 198.18.0.2/30"), "an address");
	ok(says("ip -6 addr show dev eth0", "inet6 fd70:6666:7300::2/64"), "one of IPv6");
	ok(!says("ip -6 addr show dev eth0", "fe80"), "and no other");
	ok(!says("ip -6 addr show dev eth0", "tentative"), "which can be used at once");
	ok(says("ip route", "default via 198.18.0.1 dev eth0"), "a way out");
	ok(says("ip -6 route", "default via fd70:6666:7300::1 dev eth0"), "one of IPv6");
	ok(says("ip neigh", "198.18.0.1 dev eth0 lladdr 02:70:66:66:73:01 PERMANENT"),
	   "the gateway is known");
	ok(says("ip -6 neigh", "lladdr 02:70:66:66:73:01 PERMANENT"), "in IPv6, too");
	ok(says("ip link show lo", "UP"), "the loopback is up");
}

/* What reading from @fd fails with, 0 when there is nothing to read. */
static int state_of(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

	return n < 0 && errno == EAGAIN ? 0 : n < 0 ? errno : -1;
}

/* Does a byte get from one to the other? */
static bool talks(int from, int to)
{
	struct pollfd wait = {.fd = to, .events = POLLIN};
	char byte = 'x';

	return send(from, &byte, 1, MSG_NOSIGNAL) == 1 && poll(&wait, 1, PATIENCE) == 1 &&
	       recv(to, &byte, 1, MSG_DONTWAIT) == 1;
}

/* An attempt that nobody answers. */
static int try_nobody(void)
{
	struct sockaddr_storage at;
	socklen_t len;
	int fd = open_stream("::ffff:203.0.113.9", PORT, true, &at, &len);

	fcntl(fd, F_SETFL, O_NONBLOCK);
	return connect(fd, (void *)&at, len) < 0 && errno == EINPROGRESS ? fd : -1;
}

static int error_of(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error;
}

static void test_cut(void)
{
	int v4 = connect_to(GATEWAY, PORT, true), v6 = connect_to(GATEWAY_V6, PORT, false),
	    mapped = connect_to(GATEWAY, PORT, false), nobody = try_nobody(),
	    here = listen_at("::", PORT), loop[2], own[2];

	loop[0] = connect_to("::1", PORT, false);
	loop[1] = accept(here, NULL, NULL);
	own[0] = connect_to(OWN, PORT, true);
	own[1] = accept(here, NULL, NULL);
	ok(v4 >= 0 && v6 >= 0 && mapped >= 0 && nobody >= 0, "connections to others");
	ok(loop[1] >= 0 && own[1] >= 0, "connections within the machine");
	network_cut();
	is_int(state_of(v4), ECONNABORTED, "a connection of IPv4 is reset");
	is_int(state_of(v6), ECONNABORTED, "one of IPv6");
	is_int(state_of(mapped), ECONNABORTED, "one of IPv4 by a socket of IPv6");
	is_int(error_of(nobody), ECONNABORTED, "and one that has not come about");
	is_int(state_of(loop[0]), 0, "the loopback's is not");
	ok(talks(loop[0], loop[1]) && talks(loop[1], loop[0]), "it works both ways");
	ok(talks(own[0], own[1]), "so does one by the machine's own address");
	v6 = connect_to("::1", PORT, false);
	ok(v6 >= 0 && accept(here, NULL, NULL) >= 0, "who listens goes on");
	v4 = connect_to(GATEWAY, PORT, true);
	ok(v4 >= 0 && state_of(v4) == 0, "and a new connection can be made");
}

/* More than one page of the kernel's list. */
static void test_many(void)
{
	enum { MANY = 300 };
	int fds[MANY], cut = 0;

	for (int i = 0; i < MANY; i++)
		fds[i] = connect_to(i % 2 ? GATEWAY : GATEWAY_V6, PORT, i % 2);
	network_cut();
	for (int i = 0; i < MANY; i++)
		cut += state_of(fds[i]) == ECONNABORTED;
	is_int(cut, MANY, "all of many connections are reset");
}

int main(void)
{
	pid_t gateway = make_world();

	if (gateway < 0) {
		skip(20, "no network namespaces can be made here");
		return done_testing();
	}
	test_up();
	test_cut();
	test_many();
	kill(gateway, SIGKILL);
	waitpid(gateway, NULL, 0);
	return done_testing();
}
