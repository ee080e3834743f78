#include "pffs/cli/pump.h"

#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 16384
#define STACK (64u << 10)

struct pump {
	struct way {
		struct pump *pump;
		int from, to;
	} ways[2];
	int fds[2];
	atomic_uint running;
};

static void let_go(struct pump *pump)
{
	if (atomic_fetch_sub(&pump->running, 1) > 1)
		return;
	io_close_all(pump->fds, 2);
	free(pump);
}

static bool send_all(int to, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(to, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* Until it ends. Return: false when `to` takes no more. */
static bool copy(const struct way *way)
{
	char chunk[CHUNK];
	ssize_t n;

	while ((n = recv(way->from, chunk, sizeof(chunk), 0)) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0 && !send_all(way->to, chunk, (size_t)n))
			return false;
	}
	return true;
}

/* A socket hangs up when its other end is closed, or both its directions are over. */
static void wait_for_hangup(int fd)
{
	struct pollfd poll_fd = {.fd = fd};

	while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
		;
}

static void *run(void *data)
{
	const struct way *way = data;

	if (copy(way)) {
		shutdown(way->to, SHUT_WR);
		wait_for_hangup(way->from);
		shutdown(way->to, SHUT_RDWR);
	} else {
		shutdown(way->from,
			 SHUT_RD); /* the other way may have something to bring */
	}
	let_go(way->pump);
	return NULL;
}

static int start(struct way *way, const pthread_attr_t *attributes)
{
	pthread_t id;

	return -pthread_create(&id, attributes, run, way);
}

int pump_begin(int one, int other)
{
	struct pump *pump = malloc(sizeof(*pump));
	pthread_attr_t attributes;
	int r;

	if (!pump)
		return -ENOMEM;
	*pump = (struct pump){.ways = {{pump, one, other}, {pump, other, one}},
			      .fds = {one, other},
			      .running = 2};
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = start(&pump->ways[0], &attributes);
	if (r < 0) {
		free(pump);
	} else if (start(&pump->ways[1], &attributes) < 0) {
		/* There is nobody for the way back: the first ends, and closes both. */
		shutdown(one, SHUT_RDWR);
		shutdown(other, SHUT_RDWR);
		let_go(pump);
	}
	pthread_attr_destroy(&attributes);
	return r;
}
