#include "pffs/core/net/ports.h"

#include "pffs/core/net/connection.h"
#include "pffs/core/net/ports_parse.h"
#include "pffs/core/record/journal.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

static struct ports *ports_of(struct sandbox *sb)
{
	if (sb->ports)
		return sb->ports;
	sb->ports = calloc(1, sizeof(*sb->ports));
	if (!sb->ports)
		return NULL;
	sb->ports->sb = sb;
	list_init(&sb->ports->list);
	list_init(&sb->ports->connections);
	return sb->ports;
}

struct port *ports_find(const struct sandbox *sb, unsigned number)
{
	struct port *port;

	if (!sb->ports)
		return NULL;
	list_for_each (port, &sb->ports->list, struct port, link)
		if (port->number == number)
			return port;
	return NULL;
}

static struct loop *loop_of(const struct port_listener *listener)
{
	return listener->port->ports->sb->core->loop;
}

static void stop_listening(struct port_listener *listener)
{
	loop_del(loop_of(listener), &listener->source);
	if (listener->fd >= 0)
		close(listener->fd);
	listener->fd = -1;
}

static void somebody_connects(struct loop_source *source, uint32_t revents)
{
	const struct port_listener *listener =
	    container_of(source, struct port_listener, source);
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)revents;
	if (fd >= 0)
		connection_new(listener->port, fd);
}

static bool is_full(const struct ports *ports)
{
	return ports->connection_count >= CONNECTIONS_MAX;
}

static void watch_listener(struct port_listener *listener, bool on)
{
	if (!on)
		loop_del(loop_of(listener), &listener->source);
	else if (listener->fd >= 0 && listener->source.fd < 0)
		loop_add(loop_of(listener), &listener->source, listener->fd, EPOLLIN,
			 somebody_connects);
}

void ports_watch(struct ports *ports, bool on)
{
	struct port *port;

	list_for_each (port, &ports->list, struct port, link) {
		watch_listener(&port->local, on);
		watch_listener(&port->tcp, on);
	}
}

static void listen_by(struct port_listener *listener, int fd)
{
	listener->fd = fd;
	watch_listener(listener, !is_full(listener->port->ports));
}

static void made(struct binder_order *order, int fd, const struct error *err)
{
	struct port *port = container_of(order, struct port, order);

	port->ordered = false;
	if (err)
		sandbox_fail(port->ports->sb, err);
	else
		listen_by(&port->local, fd);
	watch_notify(&port->watchers);
}

/* A core without a mount has no sockets in one. */
static void order_local(struct port *port)
{
	struct sandbox *sb = port->ports->sb;

	if (!sb->core->options.mountpoint || port->local.fd >= 0 || port->ordered)
		return;
	port->ordered = true;
	port->order.serial = sb->serial;
	port->order.port = port->number;
	port->order.done = made;
	binder_order(&sb->core->binder, &port->order);
}

static struct port *port_new(struct ports *ports, const struct port_line *line)
{
	struct port *port = calloc(1, sizeof(*port)), *after;
	struct link *at = &ports->list;

	if (!port)
		return NULL;
	port->ports = ports;
	port->number = line->number;
	port->address = line->address;
	port->local =
	    (struct port_listener){.port = port, .source = LOOP_SOURCE_NONE, .fd = -1};
	port->tcp = port->local;
	list_init(&port->watchers);
	list_init(&port->order.link);
	list_for_each (after, &ports->list, struct port, link)
		if (at == &ports->list && after->number > port->number)
			at = &after->link;
	list_add_before(at, &port->link);
	return port;
}

static void port_remove(struct port *port)
{
	struct ports *ports = port->ports;

	if (port->ordered)
		binder_cancel(&ports->sb->core->binder, &port->order);
	port->ordered = false;
	list_del(&port->link);
	connections_abandon(ports, port);
	stop_listening(&port->local);
	stop_listening(&port->tcp);
	watch_notify(&port->watchers);
	free(port);
}

static bool is_same(const struct port *port, const struct port_line *line)
{
	return port->number == line->number &&
	       memcmp(&port->address, &line->address, sizeof(line->address)) == 0;
}

static const struct port_line *find_line(const struct port_lines *lines, unsigned number)
{
	for (size_t i = 0; i < lines->count; i++)
		if (lines->line[i].number == number)
			return &lines->line[i];
	return NULL;
}

/* One that another port has had until now goes on. Return: a descriptor, or -1. */
static int take_over(const struct sandbox *sb, const struct port_line *line)
{
	const struct port *port;

	if (!sb->ports)
		return -1;
	list_for_each (port, &sb->ports->list, struct port, link)
		if (port->tcp.fd >= 0 &&
		    memcmp(&port->address, &line->address, sizeof(line->address)) == 0)
			return fcntl(port->tcp.fd, F_DUPFD_CLOEXEC, 0);
	return -1;
}

static unsigned port_of(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *four = (const void *)address;
	const struct sockaddr_in6 *six = (const void *)address;

	return ntohs(address->ss_family == AF_INET ? four->sin_port : six->sin6_port);
}

/* The binder may bind any, with root's rights; who asks it through the mount may not. */
static bool may_have(const struct sandbox *sb, const struct port_line *line)
{
	return sb->uid == sb->core->options.uid ||
	       port_of(&line->address) >= IPPORT_RESERVED;
}

static int listen_tcp(struct sandbox *sb, const struct port_line *line, struct error *err)
{
	char text[PORT_LINE_MAX];
	struct error why;
	int fd;

	port_line_print(line, text);
	if (!may_have(sb, line))
		return error_say(err, EACCES,
				 "port %s: ports of the loopback below %d are for "
				 "sandboxes of who started pffs",
				 text, IPPORT_RESERVED);
	fd = take_over(sb, line);
	if (fd < 0)
		fd = binder_listen(&sb->core->binder, &line->address, &why);
	if (fd >= 0)
		return fd;
	return error_say(err, -fd, "port %s: %s", text, why.text);
}

/* What is new is there before anything goes. Its listener is in @fds. */
static int listen_all(struct sandbox *sb, const struct port_lines *lines, int *fds,
		      struct error *err)
{
	for (size_t i = 0; i < lines->count; i++) {
		const struct port_line *line = &lines->line[i];
		const struct port *port = ports_find(sb, line->number);

		fds[i] = -1;
		if (line->address.ss_family == AF_UNSPEC || (port && is_same(port, line)))
			continue;
		fds[i] = listen_tcp(sb, line, err);
		if (fds[i] >= 0)
			continue;
		while (i-- > 0)
			if (fds[i] >= 0)
				close(fds[i]);
		return err->code;
	}
	return 0;
}

static int apply_line(struct ports *ports, const struct port_line *line, int fd,
		      bool reachable)
{
	struct port *port = ports_find(ports->sb, line->number);

	if (!port)
		port = port_new(ports, line);
	if (!port)
		return -ENOMEM;
	if (!is_same(port, line)) {
		stop_listening(&port->tcp);
		port->address = line->address;
	}
	if (fd >= 0)
		listen_by(&port->tcp, fd);
	if (reachable)
		order_local(port);
	return 0;
}

static void remove_others(struct ports *ports, const struct port_lines *lines)
{
	struct port *port;

	list_for_each (port, &ports->list, struct port, link)
		if (!find_line(lines, port->number))
			port_remove(port);
}

static int apply(struct sandbox *sb, const struct port_lines *lines, struct error *err)
{
	struct ports *ports = ports_of(sb);
	int fds[PORTS_MAX] = {0}, r;

	if (!ports)
		return error_set(err, ENOMEM, "cannot keep the ports of %s", sb->name);
	r = listen_all(sb, lines, fds, err);
	if (r < 0)
		return r;
	remove_others(ports, lines);
	for (size_t i = 0; i < lines->count; i++) {
		if (r == 0)
			r = apply_line(ports, &lines->line[i], fds[i], true);
		else if (fds[i] >= 0)
			close(fds[i]);
	}
	return r < 0 ? error_set(err, -r, "cannot keep the ports of %s", sb->name) : 0;
}

static int parse(struct sandbox *sb, struct port_lines *lines, const char *text,
		 bool append, struct error *err)
{
	const struct port *port;

	if (append && sb->ports)
		list_for_each (port, &sb->ports->list, struct port, link)
			lines->line[lines->count++] = (struct port_line){
			    .number = port->number, .address = port->address};
	return port_lines_parse(lines, text, err);
}

int ports_set(struct sandbox *sb, const char *text, bool append, struct error *err)
{
	cleanup_free struct port_lines *lines = NULL;
	int r;

	if (sb->gone || sb->folder == FOLDER_HIDDEN)
		return error_say(err, EIO, "%s is no sandbox any more", sb->name);
	lines = calloc(1, sizeof(*lines));
	if (!lines)
		return error_set(err, ENOMEM, "cannot read the ports");
	r = parse(sb, lines, text, append, err);
	if (r == 0)
		r = apply(sb, lines, err);
	if (r == 0)
		journal_facts(sb);
	return r;
}

void ports_print(const struct sandbox *sb, FILE *out)
{
	const struct port *port;
	char text[PORT_LINE_MAX];

	if (!sb->ports)
		return;
	list_for_each (port, &sb->ports->list, struct port, link) {
		port_line_print(
		    &(struct port_line){.number = port->number, .address = port->address},
		    text);
		fprintf(out, "%s\n", text);
	}
}

char *ports_text(const struct sandbox *sb)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	ports_print(sb, out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

void ports_restore(struct sandbox *sb, const char *text)
{
	cleanup_free struct port_lines *lines = calloc(1, sizeof(*lines));
	struct ports *ports = *text ? ports_of(sb) : NULL;
	struct error err = {0};

	if (!lines || !ports)
		return;
	if (port_lines_parse(lines, text, &err) < 0)
		sandbox_fail(sb, &err);
	remove_others(ports, lines);
	for (size_t i = 0; i < lines->count; i++)
		apply_line(ports, &lines->line[i], -1, false);
}

void ports_begin(struct sandbox *sb)
{
	struct port *port;
	struct error err;

	if (!sb->ports)
		return;
	list_for_each (port, &sb->ports->list, struct port, link) {
		const struct port_line line = {.number = port->number,
					       .address = port->address};
		int fd = -1;

		if (port->address.ss_family != AF_UNSPEC && port->tcp.fd < 0)
			fd = listen_tcp(sb, &line, &err);
		if (fd >= 0)
			listen_by(&port->tcp, fd);
		else if (fd < -1)
			sandbox_fail(sb, &err);
		order_local(port);
	}
}

void ports_begin_all(struct core *core)
{
	struct sandbox *sb;

	binder_mounted(&core->binder);
	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sandbox_is_shown(sb))
			ports_begin(sb);
}

int ports_fork(struct sandbox *child, const struct sandbox *parent)
{
	const struct port *port;
	struct ports *ports;

	if (!parent->ports || list_empty(&parent->ports->list))
		return 0;
	ports = ports_of(child);
	if (!ports)
		return -ENOMEM;
	list_for_each (port, &parent->ports->list, struct port, link)
		if (!ports_find(child, port->number) &&
		    !port_new(ports, &(struct port_line){.number = port->number}))
			return -ENOMEM;
	if (!child->making)
		ports_begin(child);
	return 0;
}

void ports_break(struct sandbox *sb)
{
	if (sb->ports)
		connections_end(sb->ports, sb->state == SANDBOX_DEAD);
}

void ports_give_up(struct sandbox *sb)
{
	if (sb->ports)
		connections_end(sb->ports, true);
}

void ports_leave(struct sandbox *sb)
{
	if (sb->ports)
		connections_abandon(sb->ports, NULL);
}

void ports_drop(struct sandbox *sb)
{
	struct port *port;

	if (!sb->ports)
		return;
	connections_end(sb->ports, true);
	list_for_each (port, &sb->ports->list, struct port, link)
		port_remove(port);
	free(sb->ports);
	sb->ports = NULL;
}

static void leave_mount(struct ports *ports)
{
	struct port *port;

	list_for_each (port, &ports->list, struct port, link)
		stop_listening(&port->local);
	connections_abandon(ports, NULL); /* they hold it as well */
}

void ports_mount_gone(struct binder *binder)
{
	struct core *core = container_of(binder, struct core, binder);
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sb->ports)
			leave_mount(sb->ports);
}
