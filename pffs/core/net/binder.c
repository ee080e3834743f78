#include "pffs/core/net/binder.h"

#include "pffs/core/net/binder_process.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CALL_SECONDS 10 /* it does nothing that takes time, but machines stand still */

void binder_init(struct binder *binder, struct loop *loop,
		 void (*mount_gone)(struct binder *binder))
{
	*binder = (struct binder){.loop = loop,
				  .source = LOOP_SOURCE_NONE,
				  .calls = -1,
				  .mount_gone = mount_gone};
	list_init(&binder->orders);
}

bool binder_is_loopback(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

	if (address->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return address->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* The child keeps nothing: what pffs has open by then is of no concern to it. */
static _Noreturn void be_binder(const char *mountpoint, int orders, int calls)
{
	const int keep[] = {orders, calls};

	io_close_but(keep, 2);
	binder_process(mountpoint, orders, calls);
}

static void order_event(struct loop_source *source, uint32_t revents);

int binder_fork(const char *mountpoint, int ends[2], struct error *err)
{
	const struct timeval limit = {.tv_sec = CALL_SECONDS};
	int orders[2], calls[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0)
		return error_set(err, errno, "cannot start the binder");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, calls) < 0) {
		error_set(err, errno, "cannot start the binder");
		io_close_all(orders, 2);
		return err->code;
	}
	pid = fork();
	if (pid == 0)
		be_binder(mountpoint, orders[1], calls[1]);
	setsockopt(calls[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	close(orders[1]);
	close(calls[1]);
	ends[0] = orders[0];
	ends[1] = calls[0];
	if (pid > 0)
		return 0;
	io_close_all(ends, 2);
	return error_set(err, EAGAIN, "cannot start the binder");
}

int binder_start(struct binder *binder, const int ends[2], struct error *err)
{
	int r = loop_add(binder->loop, &binder->source, ends[0], EPOLLIN, order_event);

	binder->calls = ends[1];
	if (r < 0) {
		close(ends[0]);
		binder_stop(binder);
		return error_set(err, -r, "cannot watch the binder");
	}
	return 0;
}

static void finish(struct binder_order *order, int fd, int errnum)
{
	struct error err;

	list_del(&order->link);
	order->sent = false;
	if (fd < 0)
		error_set(&err, errnum ? errnum : EIO, "cannot make the socket net/%u",
			  order->port);
	order->done(order, fd, fd < 0 ? &err : NULL);
}

static void fail_all(struct binder *binder, int errnum)
{
	while (!list_empty(&binder->orders))
		finish(container_of(binder->orders.next, struct binder_order, link), -1,
		       errnum);
}

void binder_stop(struct binder *binder)
{
	int orders = binder->source.fd;

	loop_del(binder->loop, &binder->source);
	if (orders >= 0)
		close(orders);
	if (binder->calls >= 0)
		close(binder->calls);
	binder->calls = -1;
	fail_all(binder, ECANCELED);
}

/* One after the other, so that nothing is ever sent that it does not read at once. */
static void send_next(struct binder *binder)
{
	struct binder_order *order;

	if (!binder->mounted || list_empty(&binder->orders))
		return;
	order = container_of(binder->orders.next, struct binder_order, link);
	if (order->sent)
		return;
	order->sent = true;
	if (send(binder->source.fd, order->name, sizeof(order->name), MSG_NOSIGNAL) < 0)
		fail_all(binder, errno);
}

void binder_mounted(struct binder *binder)
{
	binder->mounted = true;
	send_next(binder);
}

static void take_reply(struct binder *binder, const struct binder_reply *reply, int fd)
{
	struct binder_order *order = NULL;

	if (!list_empty(&binder->orders))
		order = container_of(binder->orders.next, struct binder_order, link);
	if (!order || !order->sent || strcmp(order->name, reply->name) != 0)
		order = NULL; /* nobody wants it any more */
	/* The file system of a mount that has gone is not to be held by what is late. */
	if (order && binder->mounted) {
		finish(order, fd, reply->errnum);
	} else {
		if (fd >= 0)
			close(fd);
		if (order)
			finish(order, -1, ENOTCONN);
	}
	send_next(binder);
}

static void order_event(struct loop_source *source, uint32_t revents)
{
	struct binder *binder = container_of(source, struct binder, source);
	struct binder_reply reply;
	ssize_t n;
	int fd;

	(void)revents;
	n = io_receive_fd(source->fd, &reply, sizeof(reply), &fd);
	if (n == -EAGAIN)
		return;
	if (n != sizeof(reply)) {
		binder_stop(binder);
	} else if (!reply.name[0]) {
		binder->mounted = false;
		binder->mount_gone(binder);
	} else {
		take_reply(binder, &reply, fd);
	}
}

void binder_order(struct binder *binder, struct binder_order *order)
{
	order->sent = false;
	list_add_before(&binder->orders, &order->link);
	if (binder->source.fd < 0 ||
	    io_random_name(order->name, sizeof(order->name), BINDER_PREFIX) < 0)
		finish(order, -1, ENOTSUP);
	else
		send_next(binder);
}

/* The one that is being made comes all the same, and is closed then. */
void binder_cancel(struct binder *binder, struct binder_order *order)
{
	list_del(&order->link);
	order->sent = false;
	send_next(binder);
}

const struct binder_order *binder_find(const struct binder *binder, const char *name)
{
	const struct binder_order *order;

	list_for_each (order, &binder->orders, struct binder_order, link)
		if (order->sent && strcmp(order->name, name) == 0)
			return order;
	return NULL;
}

/* An answer that comes too late would be taken for the next one's. */
static int call_failed(struct binder *binder, struct error *err)
{
	if (binder->calls >= 0)
		close(binder->calls);
	binder->calls = -1;
	return error_say(err, EIO, "the process that makes sockets has ended: mount again");
}

int binder_listen(struct binder *binder, const struct sockaddr_storage *address,
		  struct error *err)
{
	struct binder_reply reply;
	ssize_t n;
	int fd;

	if (send(binder->calls, address, sizeof(*address), MSG_NOSIGNAL) < 0)
		return call_failed(binder, err);
	n = io_receive_fd(binder->calls, &reply, sizeof(reply), &fd);
	if (n != sizeof(reply))
		return call_failed(binder, err);
	if (fd < 0)
		return error_set(err, reply.errnum, "cannot listen");
	return fd;
}
