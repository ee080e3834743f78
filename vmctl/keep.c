#include "vmctl/keep.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/jail.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct item {
	uint32_t id;
	int fds[KEEP_FDS_MAX]; /* -1 where there is none */
};

static struct {
	struct item *items; /* in order of id */
	size_t count, room;
	uint32_t last_id;
	int net;    /* the network's socket, or -1 */
	int broker; /* -1 while there is none */
	const char *path;
	ino_t inode; /* of the socket at @path */
} keep = {.net = -1, .broker = KEEP_BROKER_FD};

int keep_send(int fd, enum keep_op op, uint32_t id, const int *fds, unsigned count)
{
	struct keep_message message = {.op = op, .id = id};
	alignas(struct cmsghdr) char ancillary[CMSG_SPACE(KEEP_FDS_MAX * sizeof(int))] = {
	    0};
	struct iovec iov = {.iov_base = &message, .iov_len = sizeof(message)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (count)
		io_add_fds(&msg, ancillary, fds, count);
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == sizeof(message) ? 0 : -EIO;
}

int keep_receive(int fd, struct keep_message *message, int fds[KEEP_FDS_MAX])
{
	alignas(struct cmsghdr) char ancillary[CMSG_SPACE(KEEP_FDS_MAX * sizeof(int))];
	struct iovec iov = {.iov_base = message, .iov_len = sizeof(*message)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = ancillary,
			     .msg_controllen = CMSG_LEN(KEEP_FDS_MAX * sizeof(int))};
	ssize_t n;

	memset(fds, -1, KEEP_FDS_MAX * sizeof(*fds));
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	io_take_fds(&msg, fds, KEEP_FDS_MAX);
	if (n == sizeof(*message) && !(msg.msg_flags & MSG_CTRUNC))
		return 1;
	io_close_all(fds, KEEP_FDS_MAX);
	return n == sizeof(*message) ? -EMFILE : -EPROTO;
}

static struct item *find(uint32_t id)
{
	for (size_t i = keep.count; i > 0; i--)
		if (keep.items[i - 1].id == id)
			return &keep.items[i - 1];
	return NULL;
}

static bool put(uint32_t id, const int fds[KEEP_FDS_MAX])
{
	size_t room = keep.room ? keep.room * 2 : 64;
	struct item *grown;

	if (keep.count == keep.room) {
		grown = realloc(keep.items, room * sizeof(*grown));
		if (!grown)
			return false;
		keep.items = grown;
		keep.room = room;
	}
	keep.items[keep.count].id = id;
	memcpy(keep.items[keep.count++].fds, fds, sizeof(keep.items->fds));
	if (id > keep.last_id)
		keep.last_id = id;
	return true;
}

static void drop(struct item *item)
{
	size_t i = (size_t)(item - keep.items);

	io_close_all(item->fds, KEEP_FDS_MAX);
	keep.count--;
	memmove(item, item + 1, (keep.count - i) * sizeof(*item));
}

static unsigned fds_of(const struct item *item)
{
	unsigned count = KEEP_FDS_ENDED;

	while (count < KEEP_FDS_MAX && item->fds[count] >= 0)
		count++;
	return count;
}

static bool give_all(void)
{
	int r = keep.net < 0 ? 0 : keep_send(keep.broker, KEEP_NET, 0, &keep.net, 1);

	for (size_t i = 0; i < keep.count && !r; i++)
		r = keep_send(keep.broker, KEEP_PUT, keep.items[i].id, keep.items[i].fds,
			      fds_of(&keep.items[i]));
	return !r && keep_send(keep.broker, KEEP_DONE, keep.last_id, NULL, 0) == 0;
}

/* Return: false when the broker is to be let go. @fds are closed if nobody took them. */
static bool obey(const struct keep_message *message, int fds[KEEP_FDS_MAX])
{
	struct item *item = find(message->id);
	bool ok = true;

	switch ((enum keep_op)message->op) {
	case KEEP_PUT:
		ok = !item && put(message->id, fds);
		if (ok)
			memset(fds, -1, KEEP_FDS_MAX * sizeof(*fds));
		break;
	case KEEP_PROCESS:
		if (item && item->fds[KEEP_FDS] < 0)
			item->fds[KEEP_FDS] = steal_fd(&fds[0]);
		break;
	case KEEP_ENDED:
		if (item)
			io_close_all(item->fds + KEEP_FDS_ENDED,
				     KEEP_FDS_MAX - KEEP_FDS_ENDED);
		break;
	case KEEP_DROP:
		if (item)
			drop(item);
		break;
	case KEEP_CLEAR:
		while (keep.count)
			drop(&keep.items[keep.count - 1]);
		break;
	case KEEP_TAKE:
		ok = give_all();
		break;
	case KEEP_NET:
		io_close_all(&keep.net, 1);
		keep.net = steal_fd(&fds[0]);
		break;
	case KEEP_DONE:
		ok = false;
		break;
	}
	io_close_all(fds, KEEP_FDS_MAX);
	return ok;
}

/* One message. Without a broker and without VMs there is nothing to keep. */
static void serve(void)
{
	struct keep_message message;
	int fds[KEEP_FDS_MAX];

	if (keep_receive(keep.broker, &message, fds) == 1 && obey(&message, fds))
		return;
	close(keep.broker);
	keep.broker = -1;
	if (!keep.count)
		exit(EXIT_SUCCESS);
}

static void let_in(void)
{
	cleanup_close int fd = accept4(KEEP_LISTEN_FD, NULL, NULL, SOCK_CLOEXEC);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return;
	if (peer.uid == geteuid() || peer.uid == 0)
		keep.broker = steal_fd(&fd);
}

static bool can_be_found(void)
{
	struct stat st;

	return stat(keep.path, &st) == 0 && st.st_ino == keep.inode;
}

int keep_main(int argc, char **argv)
{
	struct stat st;
	struct error err;

	if (argc != 2 || stat(argv[1], &st) < 0)
		return EXIT_FAILURE;
	keep.path = argv[1];
	keep.inode = st.st_ino;
	signal(SIGPIPE, SIG_IGN);
	if (jail_powerless(&err) < 0)
		return EXIT_FAILURE;
	for (;;) {
		bool alone = keep.broker < 0;
		struct pollfd pfd = {.fd = alone ? KEEP_LISTEN_FD : keep.broker,
				     .events = POLLIN};
		int n = poll(&pfd, 1, alone ? KEEP_LOOK_MS : -1);

		if (n > 0 && alone)
			let_in();
		else if (n > 0)
			serve();
		else if (n == 0 && !can_be_found())
			return EXIT_SUCCESS;
	}
}
