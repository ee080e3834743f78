#include "vmctl/names/net_channel.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>

#define TURN 64 /* messages read before others have their turn */

struct parcel {
	struct link link;
	size_t len;
	char text[];
};

static void end(struct net_channel *channel)
{
	loop_mod(channel->loop, &channel->source, 0);
	channel->ended(channel);
}

static void drop(struct net_channel *channel, struct parcel *parcel)
{
	channel->queued -= parcel->len;
	list_del(&parcel->link);
	free(parcel);
}

static void flush(struct net_channel *channel)
{
	struct parcel *parcel;

	list_for_each (parcel, &channel->queue, struct parcel, link) {
		ssize_t n = send(channel->source.fd, parcel->text, parcel->len,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
			break;
		drop(channel, parcel);
	}
	loop_mod(channel->loop, &channel->source,
		 list_empty(&channel->queue) ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

/*
 * Return: 1 for a message, or 0 at the end, or -errno.
 *
 * #syscalls:dns,proxy recvmsg sendto close epoll_ctl epoll_wait
 */
static int receive(struct net_channel *channel, int fds[NET_CHANNEL_FDS], json_t **message)
{
	static char text[NET_CHANNEL_MESSAGE];
	alignas(struct cmsghdr) char ancillary[CMSG_SPACE(NET_CHANNEL_FDS * sizeof(int))];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = ancillary,
			     .msg_controllen = sizeof(ancillary)};
	ssize_t n = recvmsg(channel->source.fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 ? -errno : 0;
	io_take_fds(&msg, fds, NET_CHANNEL_FDS);
	if (!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		*message = json_loadb(text, (size_t)n, 0, NULL);
	explicit_bzero(text, (size_t)n); /* there may be secrets in it */
	return json_is_object(*message) ? 1 : -EPROTO;
}

/* Return: whether there may be another one. */
static bool hear(struct net_channel *channel)
{
	int fds[NET_CHANNEL_FDS];
	json_t *message = NULL;
	int r;

	memset(fds, -1, sizeof(fds));
	r = receive(channel, fds, &message);
	if (r > 0)
		channel->heard(channel, message, fds);
	else if (r != -EAGAIN && r != -EINTR)
		end(channel);
	json_decref(message);
	io_close_all(fds, NET_CHANNEL_FDS);
	return r > 0;
}

static void ready(struct loop_source *source, uint32_t revents)
{
	struct net_channel *channel = container_of(source, struct net_channel, source);

	if (revents & EPOLLOUT)
		flush(channel);
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	for (unsigned i = 0; i < TURN && hear(channel); i++)
		;
}

void net_channel_read(struct net_channel *channel)
{
	while (hear(channel))
		;
}

int net_channel_open(struct net_channel *channel, struct loop *loop, int fd,
		     struct error *err)
{
	int r;

	channel->loop = loop;
	channel->queued = 0;
	list_init(&channel->queue);
	r = loop_add(loop, &channel->source, fd, EPOLLIN, ready);
	if (r < 0)
		return error_set(err, -r, "cannot watch the channel to vmctl net");
	return 0;
}

void net_channel_close(struct net_channel *channel)
{
	struct parcel *parcel;
	int fd = channel->source.fd;

	list_for_each (parcel, &channel->queue, struct parcel, link)
		drop(channel, parcel);
	loop_del(channel->loop, &channel->source);
	close(fd);
}

int net_channel_send(struct net_channel *channel, json_t *message)
{
	size_t len = message ? json_dumpb(message, NULL, 0, JSON_COMPACT) : 0;
	struct parcel *parcel = len ? malloc(sizeof(*parcel) + len) : NULL;

	if (!parcel || channel->queued + len > NET_CHANNEL_QUEUE) {
		json_decref(message);
		free(parcel);
		return parcel ? -ENOBUFS : -ENOMEM;
	}
	parcel->len = json_dumpb(message, parcel->text, len, JSON_COMPACT);
	json_decref(message);
	list_add_before(&channel->queue, &parcel->link);
	channel->queued += len;
	flush(channel);
	return 0;
}
