#include "pffs/api/listen.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>

#define BACKLOG 512

int listen_unix(struct listener *listener, const char *path, struct error *err)
{
	snprintf(listener->address, sizeof(listener->address), "%s", path);
	return io_listen_unix(path, err);
}

/* Cut HOST:PORT in two. */
static int split(char *text, char **host, char **port, struct error *err)
{
	char *colon = strrchr(text, ':');
	size_t len;

	if (colon) {
		*colon = '\0';
		*host = text;
		*port = colon + 1;
		len = strlen(text);
		if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
			text[len - 1] = '\0';
			(*host)++;
		}
		if (**host && **port && strspn(*port, "0123456789") == strlen(*port) &&
		    strtoul(*port, NULL, 10) <= 65535)
			return 0;
	}
	return error_say(err, EINVAL,
			 "an address is HOST:PORT, such as 127.0.0.1:7070 or [::1]:7070");
}

static bool is_loopback(const struct sockaddr *addr)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;

	if (addr->sa_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	return addr->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static void say_address(struct listener *listener, int fd)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	char host[64], port[8];

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	snprintf(listener->address, sizeof(listener->address),
		 addr.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static int listen_at(struct listener *listener, const struct addrinfo *info,
		     struct error *err)
{
	cleanup_close int fd = socket(
	    info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	const int on = 1;

	if (fd < 0)
		return error_set(err, errno, "cannot make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return error_set(err, errno, "cannot listen at %s", listener->address);
	listener->loopback = is_loopback(info->ai_addr);
	say_address(listener, fd);
	return steal_fd(&fd);
}

int listen_tcp(struct listener *listener, const char *address, struct error *err)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				       .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	cleanup_free char *text = strdup(address);
	struct addrinfo *info;
	char *host = NULL, *port = NULL;
	int r;

	snprintf(listener->address, sizeof(listener->address), "%s", address);
	if (!text)
		return error_set(err, ENOMEM, "cannot listen at %s", address);
	r = split(text, &host, &port, err);
	if (r < 0)
		return r;
	r = getaddrinfo(host, port, &hints, &info);
	if (r != 0)
		return error_say(err, EINVAL, "cannot listen at %s: %s", address,
				 gai_strerror(r));
	r = listen_at(listener, info, err);
	freeaddrinfo(info);
	return r;
}

void server_remove_stale(const char *dir)
{
	cleanup_closedir DIR *entries = opendir(dir);
	const struct dirent *entry;
	char *end;

	while (entries && (entry = readdir(entries))) {
		long pid = strtol(entry->d_name, &end, 10);

		if (pid > 0 && strcmp(end, ".sock") == 0 && kill((pid_t)pid, 0) < 0 &&
		    errno == ESRCH)
			unlinkat(dirfd(entries), entry->d_name, 0);
	}
}
