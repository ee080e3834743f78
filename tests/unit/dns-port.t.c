/*
 * A DNS proxy that was taken over connects by TCP to the port of resolvers and to no other.
 */
#include "tests/unit/tap.h"
#include "util/cleanup.h"
#include "vmctl/dns/port.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Return: the port of a socket that listens on the loopback for as long as we live. */
static uint16_t listen_somewhere(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		exit(1);
	return ntohs(at.sin_port);
}

/* Return: 0 or errno. */
static int try_port(uint16_t port, int (*call)(int, const struct sockaddr *, socklen_t))
{
	const struct sockaddr_in at = {.sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return call(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ? errno : 0;
}

int main(void)
{
	const uint16_t resolver = listen_somewhere(), other = listen_somewhere();
	struct error err;
	int r;

	ok(try_port(other, connect) == 0, "any port can be connected to");
	r = port_confine(resolver, &err);
	if (r == 0) {
		skip(3, "this kernel has no Landlock for ports");
		return done_testing();
	}
	ok(r == 1 && try_port(resolver, connect) == 0, "then that of resolvers");
	ok(try_port(other, connect) == EACCES, "and no other");
	ok(try_port(0, bind) == EACCES, "and none can be listened on");
	return done_testing();
}
