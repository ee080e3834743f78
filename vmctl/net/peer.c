#include "vmctl/net/peer.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TURN 64

struct letter {
	struct link link;
	char *text;
	int fds[PEER_FDS_MAX];
	unsigned count;
};

static void letter_free(struct letter *letter)
{
	list_del(&letter->link);
	io_close_all(letter->fds, letter->count);
	free(letter->text);
	free(letter);
}

static void lose(struct peer *peer)
{
	peer_close(peer);
	if (peer->gone)
		peer->gone(peer);
}

/* Return: 0, -EAGAIN when the socket takes nothing now, or another -errno. */
static int post(struct peer *peer, const struct letter *letter)
{
	alignas(struct cmsghdr) char room[CMSG_SPACE(PEER_FDS_MAX * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = letter->text, .iov_len = strlen(letter->text)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (letter->count)
		io_add_fds(&msg, room, letter->fds, letter->count);
	return sendmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void flush(struct peer *peer)
{
	struct letter *letter;
	int r = 0;

	list_for_each (letter, &peer->queue, struct letter, link) {
		r = post(peer, letter);
		if (r == -EAGAIN || r == -EINTR)
			break;
		letter_free(letter);
		if (r < 0)
			break;
	}
	if (r < 0 && r != -EAGAIN && r != -EINTR && r != -EMSGSIZE) {
		lose(peer);
		return;
	}
	loop_mod(peer->loop, &peer->source,
		 EPOLLIN | (list_empty(&peer->queue) ? 0 : EPOLLOUT));
}

/* Return: whether something was queued, and nothing is any more. */
static bool flush_queue(struct peer *peer)
{
	if (peer->fd < 0 || list_empty(&peer->queue))
		return false;
	flush(peer);
	return peer_has_taken(peer);
}

static void on_ready(struct loop_source *source, uint32_t revents)
{
	struct peer *peer = container_of(source, struct peer, source);

	if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
		peer_read(peer, TURN);
	if (flush_queue(peer) && peer->taken)
		peer->taken(peer);
}

int peer_open(struct peer *peer, struct loop *loop, int fd,
	      void (*fn)(struct peer *peer, json_t *message),
	      void (*gone)(struct peer *peer), struct error *err)
{
	int r;

	*peer = (struct peer){
	    .loop = loop, .source = LOOP_SOURCE_NONE, .fd = fd, .fn = fn, .gone = gone};
	list_init(&peer->queue);
	io_set_nonblock(fd, true);
	r = loop_add(loop, &peer->source, fd, EPOLLIN, on_ready);
	if (r == 0)
		return 0;
	peer_close(peer);
	return error_set(err, -r, "cannot watch a socket");
}

static struct letter *letter_new(json_t *message, const int *fds, unsigned count)
{
	struct letter *letter = calloc(1, sizeof(*letter));

	if (!letter)
		return NULL;
	list_init(&letter->link);
	letter->text = json_dumps(message, JSON_COMPACT);
	for (unsigned i = 0; i < count && i < PEER_FDS_MAX; i++) {
		letter->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		letter->count += letter->fds[i] >= 0;
	}
	if (letter->text && letter->count == count)
		return letter;
	letter_free(letter);
	return NULL;
}

void peer_send(struct peer *peer, json_t *message, const int *fds, unsigned count)
{
	struct letter *letter =
	    peer->fd >= 0 && message ? letter_new(message, fds, count) : NULL;

	json_decref(message);
	if (peer->fd < 0)
		return;
	if (!letter) {
		lose(peer);
		return;
	}
	list_add_before(&peer->queue, &letter->link);
	if (peer->queue.next == &letter->link)
		flush(peer);
}

bool peer_has_taken(const struct peer *peer)
{
	return peer->fd < 0 || list_empty(&peer->queue);
}

void peer_read(struct peer *peer, unsigned most)
{
	static char text[PEER_MESSAGE_MAX];
	json_t *message;
	ssize_t n;

	for (unsigned i = 0; i < most && peer->fd >= 0; i++) {
		n = io_receive_fd(peer->fd, text, sizeof(text), &peer->came);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			lose(peer);
			return;
		}
		message = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
		if (json_is_object(message))
			peer->fn(peer, message);
		json_decref(message);
		io_close_all(&peer->came, 1);
	}
}

void peer_close(struct peer *peer)
{
	struct letter *letter;

	if (peer->fd < 0)
		return;
	list_for_each (letter, &peer->queue, struct letter, link)
		letter_free(letter);
	loop_del(peer->loop, &peer->source);
	close(steal_fd(&peer->fd));
}

int peer_pair(int pair[2], struct error *err)
{
	int bytes = PEER_MESSAGE_MAX;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot make a socket pair");
	for (int i = 0; i < 2; i++)
		if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) <
		    0)
			setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return 0;
}
