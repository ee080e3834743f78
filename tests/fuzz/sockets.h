/*
 * The sockets of the DNS proxy, in pairs: guests and resolvers are at the other ends, and
 * their addresses are what the target says.
 */
#pragma once

#include "tests/fuzz/script.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RESOLVERS   32u /* ends of sockets */
#define MESSAGE_MAX 4096u

/* The end of a socket towards a resolver, and the newest question that came there. */
struct resolver {
	int fd; /* -1: none */
	bool tcp;
	uint8_t query[MESSAGE_MAX];
	size_t len;
};

static struct resolver resolvers[RESOLVERS];
static int udp_theirs, tcp_theirs; /* those that it listens at */
static unsigned coming;		   /* the slot of who connects by TCP */

ssize_t __wrap_recvfrom(int fd, void *to, size_t len, int flags, struct sockaddr *from,
			socklen_t *from_len);
ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags,
		      const struct sockaddr *to, socklen_t to_len);
int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *from_len, int flags);
int __real_socket(int domain, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *to, socklen_t len);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len);

static inline void put_address(unsigned slot, struct sockaddr *from, socklen_t *from_len)
{
	const struct sockaddr_in four = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(198u << 24 | 19u << 16 | slot)};

	memcpy(from, &four, sizeof(four));
	*from_len = sizeof(four);
}

/* Whose a datagram is its first byte says. */
ssize_t __wrap_recvfrom(int fd, void *to, size_t len, int flags, struct sockaddr *from,
			socklen_t *from_len)
{
	static uint8_t bytes[MESSAGE_MAX];
	ssize_t n = recv(fd, bytes, sizeof(bytes), flags);

	must(fd == udp_theirs);
	if (n <= 0)
		return n;
	put_address(bytes[0], from, from_len);
	n = (size_t)n - 1 < len ? n - 1 : (ssize_t)len;
	memcpy(to, bytes + 1, (size_t)n);
	return n;
}

ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags,
		      const struct sockaddr *to, socklen_t to_len)
{
	must(fd == udp_theirs && to && to_len == sizeof(struct sockaddr_in));
	return send(fd, data, len, flags);
}

int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *from_len, int flags)
{
	struct sockaddr_un none;
	socklen_t len = sizeof(none);
	int got;

	must(fd == tcp_theirs);
	got = accept(fd, (struct sockaddr *)&none, &len);
	must((flags & SOCK_NONBLOCK) != 0);
	if (got >= 0) {
		put_address(coming, from, from_len);
		fcntl(got, F_SETFL, O_NONBLOCK);
	}
	return got;
}

/* Towards a resolver, whose end is the target's. Of a pair of datagram sockets neither end
 * sees that the other is closed. */
int __wrap_socket(int domain, int type, int protocol)
{
	bool tcp = (type & 0xf) == SOCK_STREAM;
	int flags = type & (SOCK_NONBLOCK | SOCK_CLOEXEC), fds[2];

	must(protocol == 0 && (domain == AF_INET || domain == AF_INET6));
	for (unsigned i = 0; i < RESOLVERS; i++) {
		if (resolvers[i].fd >= 0)
			continue;
		if (socketpair(AF_UNIX, flags | (tcp ? SOCK_STREAM : SOCK_SEQPACKET), 0,
			       fds) < 0)
			return -1;
		resolvers[i] = (struct resolver){.fd = fds[1], .tcp = tcp};
		return fds[0];
	}
	errno = EMFILE;
	return -1;
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len)
{
	(void)fd;
	must(to && len);
	return 0;
}

/* What resolvers were asked; and who is asked no more. */
static inline void listen_as_resolvers(void)
{
	for (unsigned i = 0; i < RESOLVERS; i++) {
		struct resolver *resolver = &resolvers[i];
		ssize_t n = -1;

		errno = 0;
		while (resolver->fd >= 0 &&
		       (n = recv(resolver->fd, resolver->query, sizeof(resolver->query),
				 MSG_DONTWAIT)) > 0)
			resolver->len = (size_t)n;
		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			close(resolver->fd);
			resolver->fd = -1;
		}
	}
}
