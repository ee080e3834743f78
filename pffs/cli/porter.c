/*
 * Theory of operation: a binder (binder.h) makes the sockets, and tells when the mount has
 * gone, which they would hold. pffs is told of who connects, and answers with a connection
 * to itself, to and from which all is copied (pump.h). Without a binder there are no
 * sockets, and the mount stays all the same.
 */
#include "pffs/cli/porter.h"

#include "pffs/cli/pump.h"
#include "pffs/core/net/binder_process.h"
#include "pffs/core/net/porter.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket in the mount. One who has connected is dealt with at a time: others wait in its
 * backlog. */
struct door {
	struct link link;
	struct porter_process *porter;
	struct porter_order order;
	struct loop_source source; /* fd -1: it is being made */
	int client;		   /* of whom pffs has been told; or -1 */
};

struct porter_process {
	struct loop loop;
	struct loop_source control, signals;
	int binder[2]; /* its orders and calls; -1: there is none */
	struct loop_source made;
	struct link doors;
	bool told_to_end;
};

static void tell(const struct door *door, enum porter_news_kind kind, int errnum)
{
	const struct porter_news news = {
	    .kind = kind, .id = door->order.id, .errnum = errnum};

	send(door->porter->control.fd, &news, sizeof(news), MSG_NOSIGNAL);
}

static void shut(struct door *door)
{
	int fds[] = {door->source.fd, door->client};

	loop_del(&door->porter->loop, &door->source);
	io_close_all(fds, 2);
	list_del(&door->link);
	free(door);
}

static void somebody_connects(struct loop_source *source, uint32_t revents)
{
	struct door *door = container_of(source, struct door, source);

	(void)revents;
	door->client = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);
	if (door->client < 0)
		return;
	loop_mod(&door->porter->loop, source, 0);
	tell(door, PORTER_CAME, 0);
}

static void cannot(struct door *door, int errnum)
{
	tell(door, PORTER_MADE, errnum);
	shut(door);
}

static struct door *door_of(const struct porter_process *porter, uint32_t id)
{
	struct door *door;

	list_for_each (door, &porter->doors, struct door, link)
		if (door->order.id == id)
			return door;
	return NULL;
}

/* @fd: to pffs, or -1: there is no room for him. */
static void take(struct porter_process *porter, uint32_t id, int fd)
{
	struct door *door = door_of(porter, id);
	cleanup_close int inner = fd, outer = door ? steal_fd(&door->client) : -1;

	if (door)
		loop_mod(&porter->loop, &door->source, EPOLLIN);
	if (inner < 0 || outer < 0 || io_set_nonblock(inner, false) < 0 ||
	    pump_begin(inner, outer) < 0)
		return;
	inner = outer = -1;
}

static void make(struct porter_process *porter, const struct porter_order *order)
{
	struct door *door = calloc(1, sizeof(*door));

	if (!door)
		return; /* nobody can be told of it either */
	door->porter = porter;
	door->order = *order;
	door->source = LOOP_SOURCE_NONE;
	door->client = -1;
	list_add_before(&porter->doors, &door->link);
	if (porter->binder[0] < 0 ||
	    send(porter->binder[0], order->name, sizeof(order->name), MSG_NOSIGNAL) < 0)
		cannot(door, porter->binder[0] < 0 ? ENOTSUP : errno);
}

static void obey(struct porter_process *porter, const struct porter_order *order, int fd)
{
	struct door *door;

	if (order->kind == PORTER_TAKE) {
		take(porter, order->id, fd);
	} else if (order->kind == PORTER_MAKE) {
		make(porter, order);
	} else {
		door = door_of(porter, order->id);
		if (door)
			shut(door);
	}
}

static void on_order(struct loop_source *source, uint32_t revents)
{
	struct porter_process *porter =
	    container_of(source, struct porter_process, control);
	struct porter_order order;
	int fd;
	ssize_t n = io_receive_fd(source->fd, &order, sizeof(order), &fd);

	(void)revents;
	if (n == -EAGAIN)
		return;
	if (n != sizeof(order) || order.name[sizeof(order.name) - 1])
		loop_stop(&porter->loop);
	else
		obey(porter, &order, fd);
}

static void open_door(struct door *door, int errnum, int fd)
{
	int r = fd < 0 ? -(errnum ? errnum : EIO)
		       : loop_add(&door->porter->loop, &door->source, fd, EPOLLIN,
				  somebody_connects);

	if (r < 0 && fd >= 0)
		close(fd);
	if (r < 0)
		cannot(door, -r);
	else
		tell(door, PORTER_MADE, 0);
}

static struct door *find_door(const struct porter_process *porter, const char *name)
{
	struct door *door;

	list_for_each (door, &porter->doors, struct door, link)
		if (strcmp(door->order.name, name) == 0)
			return door;
	return NULL;
}

/* Nothing can be made any more, or is to be. */
static void leave_mount(struct porter_process *porter)
{
	struct door *door;

	list_for_each (door, &porter->doors, struct door, link)
		cannot(door, ENOTCONN);
}

static void end_binder(struct porter_process *porter)
{
	loop_del(&porter->loop, &porter->made);
	io_close_all(porter->binder, 2);
}

static void on_made(struct loop_source *source, uint32_t revents)
{
	struct porter_process *porter = container_of(source, struct porter_process, made);
	struct binder_reply reply;
	struct door *door;
	int fd;
	ssize_t n = io_receive_fd(source->fd, &reply, sizeof(reply), &fd);

	(void)revents;
	if (n == -EAGAIN)
		return;
	if (n != sizeof(reply)) {
		end_binder(porter);
		leave_mount(porter);
		return;
	}
	if (!reply.name[0]) {
		loop_stop(&porter->loop); /* what is open holds what is no mount any more */
		return;
	}
	door = find_door(porter, reply.name);
	if (door)
		open_door(door, reply.errnum, fd);
	else if (fd >= 0)
		close(fd);
}

static void on_signal(struct loop_source *source, uint32_t revents)
{
	struct porter_process *porter =
	    container_of(source, struct porter_process, signals);

	(void)revents;
	porter->told_to_end = true;
	loop_stop(&porter->loop);
}

static int watch(struct porter_process *porter, int control, int signals, const char *dir)
{
	struct error ignored;
	int r = loop_add(&porter->loop, &porter->control, control, EPOLLIN, on_order);

	if (r == 0 && signals >= 0)
		r = loop_add(&porter->loop, &porter->signals, signals, EPOLLIN, on_signal);
	if (r == 0 && binder_fork(dir, porter->binder, &ignored) == 0)
		r = loop_add(&porter->loop, &porter->made, porter->binder[0], EPOLLIN,
			     on_made);
	return r;
}

bool porter_run(int control, int signals, const char *dir)
{
	struct porter_process porter = {.control = LOOP_SOURCE_NONE,
					.signals = LOOP_SOURCE_NONE,
					.made = LOOP_SOURCE_NONE,
					.binder = {-1, -1}};
	struct error ignored;

	list_init(&porter.doors);
	io_raise_descriptors();
	if (loop_init(&porter.loop, &ignored) < 0)
		return false;
	if (watch(&porter, control, signals, dir) == 0)
		loop_run(&porter.loop);
	leave_mount(&porter);
	end_binder(&porter);
	loop_del(&porter.loop, &porter.control);
	loop_del(&porter.loop, &porter.signals);
	loop_fini(&porter.loop);
	return porter.told_to_end;
}
