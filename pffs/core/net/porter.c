#include "pffs/core/net/porter.h"

#include "pffs/core/net/connection.h"
#include "pffs/core/net/ports.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void porter_init(struct porter *porter, struct core *core, int fd,
		 bool (*shows)(const struct porter *porter, const struct sandbox *sb))
{
	*porter = (struct porter){.core = core, .fd = fd, .shows = shows};
	list_init(&porter->sockets);
}

/* NULL when it has gone, or is none of the mount's any more. */
static struct port *port_of(const struct porter_socket *socket)
{
	const struct porter *porter = socket->porter;
	struct sandbox *sb = sandbox_by_serial(porter->core, socket->serial);

	return sb && porter->shows(porter, sb) ? ports_find(sb, socket->number) : NULL;
}

/* Who waits for it does not find it any more. */
static void remove_socket(struct porter_socket *socket)
{
	list_del(&socket->link);
	list_del(&socket->watch.link);
	watch_notify(&socket->watchers);
	free(socket);
}

void porter_fini(struct porter *porter)
{
	struct porter_socket *socket;

	if (!porter->core)
		return;
	porter->fd = -1;
	list_for_each (socket, &porter->sockets, struct porter_socket, link)
		remove_socket(socket);
}

/* Who does not read is of no use: porter_hear() will find that it has gone. */
static bool say(const struct porter *porter, const struct porter_order *order, int fd)
{
	if (io_send_fd(porter->fd, order, sizeof(*order), fd, MSG_DONTWAIT) == 0)
		return true;
	shutdown(porter->fd, SHUT_RDWR);
	return false;
}

static void port_changed(struct watch *watch)
{
	struct porter_socket *socket = container_of(watch, struct porter_socket, watch);

	if (port_of(socket))
		return;
	socket->order.kind = PORTER_END;
	say(socket->porter, &socket->order, -1);
	remove_socket(socket);
}

struct porter_socket *porter_find(const struct porter *porter, const struct port *port)
{
	struct porter_socket *socket;

	list_for_each (socket, &porter->sockets, struct porter_socket, link)
		if (socket->number == port->number &&
		    socket->serial == port->ports->sb->serial)
			return socket;
	return NULL;
}

struct porter_socket *porter_want(struct porter *porter, struct port *port)
{
	struct porter_socket *socket = porter_find(porter, port);

	if (socket || porter->fd < 0)
		return socket;
	socket = calloc(1, sizeof(*socket));
	if (!socket)
		return NULL;
	socket->porter = porter;
	socket->serial = port->ports->sb->serial;
	socket->number = port->number;
	socket->order.id = ++porter->last_id;
	list_init(&socket->watchers);
	if (io_random_name(socket->order.name, BINDER_NAME, BINDER_PREFIX) < 0 ||
	    !say(porter, &socket->order, -1)) {
		free(socket);
		return NULL;
	}
	list_add_before(&porter->sockets, &socket->link);
	watch_add(&port->watchers, &socket->watch, port_changed);
	return socket;
}

struct port *porter_making(const struct porter *porter, const char *name)
{
	const struct porter_socket *socket;

	list_for_each (socket, &porter->sockets, struct porter_socket, link)
		if (!socket->made && strcmp(socket->order.name, name) == 0)
			return port_of(socket);
	return NULL;
}

static struct porter_socket *find_id(const struct porter *porter, uint32_t id)
{
	struct porter_socket *socket;

	list_for_each (socket, &porter->sockets, struct porter_socket, link)
		if (socket->order.id == id)
			return socket;
	return NULL;
}

static void made(struct porter_socket *socket)
{
	socket->made = true;
	watch_notify(&socket->watchers);
}

/* It could not be made; or the mount has gone, and it with it. */
static void lost(struct porter_socket *socket, int errnum)
{
	struct port *port = port_of(socket);
	struct error err;

	error_set(&err, errnum > 0 && errnum < 4096 ? errnum : EIO,
		  "cannot make the socket net/%u in a mount of one sandbox",
		  socket->number);
	if (port && !socket->made)
		sandbox_fail(port->ports->sb, &err);
	remove_socket(socket);
}

/* One too many does not wait, as it would in a socket's backlog. */
static void somebody_came(const struct porter_socket *socket)
{
	const struct porter_order take = {.kind = PORTER_TAKE, .id = socket->order.id};
	struct port *port = port_of(socket);
	cleanup_close int ours = -1, theirs = -1;
	int pair[2];

	if (port && port->ports->connection_count < CONNECTIONS_MAX &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0) {
		ours = pair[0];
		theirs = pair[1];
	}
	if (say(socket->porter, &take, theirs) && ours >= 0)
		connection_new(port, steal_fd(&ours));
}

static void take(struct porter_socket *socket, const struct porter_news *news)
{
	if (news->kind == PORTER_CAME)
		somebody_came(socket);
	else if (news->kind == PORTER_MADE && news->errnum)
		lost(socket, news->errnum);
	else if (news->kind == PORTER_MADE)
		made(socket);
}

bool porter_hear(struct porter *porter)
{
	struct porter_news news;
	struct porter_socket *socket;
	ssize_t n = recv(porter->fd, &news, sizeof(news), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n != sizeof(news))
		return false;
	socket = find_id(porter, news.id);
	if (socket)
		take(socket, &news);
	return true;
}
