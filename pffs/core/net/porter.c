#include "pffs/core/net/porter.h"

#include "pffs/core/net/connection.h"
#include "pffs/core/net/ports.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void porter_init(struct porter *porter, struct core *core, int fd)
{
	*porter = (struct porter){.core = core, .fd = fd};
	list_init(&porter->sockets);
}

/* NULL when it has gone. */
static struct port *port_of(const struct porter_socket *socket)
{
	struct sandbox *sb = sandbox_by_serial(socket->porter->core, socket->serial);

	return sb ? ports_find(sb, socket->number) : NULL;
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

static bool say(const struct porter *porter, const struct porter_order *order)
{
	return send(porter->fd, order, sizeof(*order), MSG_DONTWAIT | MSG_NOSIGNAL) ==
	       sizeof(*order);
}

static void port_changed(struct watch *watch)
{
	struct porter_socket *socket = container_of(watch, struct porter_socket, watch);

	if (port_of(socket))
		return;
	socket->order.ends = true;
	say(socket->porter, &socket->order);
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
	if (binder_name(socket->order.name) < 0 || !say(porter, &socket->order)) {
		free(socket);
		return NULL;
	}
	list_add_before(&porter->sockets, &socket->link);
	watch_add(&port->watchers, &socket->watch, port_changed);
	return socket;
}

const struct porter_socket *porter_making(const struct porter *porter, const char *name)
{
	const struct porter_socket *socket;

	list_for_each (socket, &porter->sockets, struct porter_socket, link)
		if (!socket->made && strcmp(socket->order.name, name) == 0)
			return socket;
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

static int get_option(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static bool is_connection(int fd)
{
	return get_option(fd, SO_DOMAIN) == AF_UNIX &&
	       get_option(fd, SO_TYPE) == SOCK_STREAM && get_option(fd, SO_ACCEPTCONN) == 0;
}

/* One too many does not wait, as it would in a socket's backlog. */
static void somebody_connects(const struct porter_socket *socket, int fd)
{
	struct port *port = port_of(socket);
	cleanup_close int client = fd;

	if (port && port->ports->connection_count < CONNECTIONS_MAX && is_connection(fd))
		connection_new(port, steal_fd(&client));
}

bool porter_hear(struct porter *porter)
{
	struct porter_news news;
	struct porter_socket *socket;
	int fd;
	ssize_t n = io_receive_fd(porter->fd, &news, sizeof(news), &fd);

	if (n == -EAGAIN || n == -EINTR)
		return true;
	if (n != sizeof(news)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	socket = find_id(porter, news.id);
	if (fd < 0 && socket && news.errnum)
		lost(socket, news.errnum);
	else if (fd < 0 && socket)
		made(socket);
	else if (socket)
		somebody_connects(socket, fd);
	else if (fd >= 0)
		close(fd);
	return true;
}
