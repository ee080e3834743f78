/*
 * Theory of operation
 *
 * A connection is a TCP socket of the agent's own, to an address of this machine: the first
 * of ADDRESSES at which somebody listens. What the host sends waits in `queue`, which is
 * never longer than the window that the host keeps to; what the program sends is read only
 * as long as the host has room for it, and the port as well. So neither a program that
 * floods nor one that reads nothing costs anybody more than its own connection.
 *
 * Each direction ends by itself: the host's by shutdown(2) behind the last byte, the
 * program's by AGENT_PORT_EOF. A connection that is given up before both have ended is
 * reset, so that no program takes a part for the whole.
 *
 * A socket in which nothing is awaited is off the epoll set: a hang-up cannot be masked.
 */
#include "guest/agent/ports.h"

#include "guest/agent/agent.h"
#include "guest/agent/log.h"
#include "util/buf.h"
#include "util/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK	    (64u << 10)
#define CONNECTIONS 256

/* Where programs listen that others are to reach: docs/network.md has the last two. */
static const char *const addresses[] = {"127.0.0.1", "::1", "198.18.0.2",
					"fd70:6666:7300::2"};

#define ADDRESSES (sizeof(addresses) / sizeof(addresses[0]))

struct connection {
	struct link link; /* on agent->ports */
	struct agent *agent;
	uint32_t stream;
	uint16_t port;
	size_t address; /* the one that is being tried */
	int refused;	/* why the first was no good */
	int fd;		/* -1: between two attempts */
	struct loop_source source;
	bool opened;
	bool host_ended;    /* nothing comes from the host after the queue */
	bool told_program;  /* nor is there any more in the queue: the program knows */
	bool program_ended; /* it sends no more, and the host knows */
	uint32_t window;    /* bytes that the host has room for */
	struct buf queue;   /* for the program; at most AGENT_STDIN_WINDOW bytes */
};

/* The agent has one thread, so one buffer serves every connection. */
static uint8_t chunk[CHUNK];

static struct connection *find(const struct agent *agent, uint32_t stream)
{
	struct connection *connection;

	list_for_each (connection, &agent->ports, struct connection, link)
		if (connection->stream == stream)
			return connection;
	return NULL;
}

static void hang_up(struct connection *connection)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	loop_del(&connection->agent->loop, &connection->source);
	if (connection->fd < 0)
		return;
	if (!connection->told_program || !connection->program_ended)
		setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(connection->fd);
	connection->fd = -1;
}

static void end(struct connection *connection)
{
	hang_up(connection);
	buf_fini(&connection->queue);
	connection->agent->port_count--;
	list_del(&connection->link);
	free(connection);
}

static void tell_end(struct connection *connection)
{
	port_send(&connection->agent->port, connection->stream, AGENT_PORT_CLOSED, NULL, 0);
	end(connection);
}

static void tell_opened(const struct connection *connection, int errnum)
{
	port_send_opened(&connection->agent->port, connection->stream, (uint32_t)errnum);
}

static bool wants_input(const struct connection *connection)
{
	return connection->opened && !connection->program_ended && connection->window &&
	       port_has_room(&connection->agent->port);
}

static void connection_event(struct loop_source *source, uint32_t revents);

static void watch(struct connection *connection)
{
	struct loop *loop = &connection->agent->loop;
	uint32_t events = wants_input(connection) ? EPOLLIN : 0;

	if (!connection->opened || connection->queue.len)
		events |= EPOLLOUT;
	if (!events)
		loop_del(loop, &connection->source);
	else if (connection->source.fd >= 0)
		loop_mod(loop, &connection->source, events);
	else if (loop_add(loop, &connection->source, connection->fd, events,
			  connection_event) < 0)
		tell_end(connection);
}

static int fill_address(const struct connection *connection, struct sockaddr_storage *to)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
	const char *text = addresses[connection->address];

	*to = (struct sockaddr_storage){0};
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(connection->port);
		return sizeof(*v4);
	}
	inet_pton(AF_INET6, text, &v6->sin6_addr);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(connection->port);
	return sizeof(*v6);
}

/* Return: 0 when it goes on, or -errno. */
static int try_address(struct connection *connection)
{
	const int on = 1;
	struct sockaddr_storage to;
	socklen_t len = (socklen_t)fill_address(connection, &to);

	connection->fd =
	    socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (connection->fd < 0)
		return -errno;
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(connection->fd, (const struct sockaddr *)&to, len) < 0 &&
	    errno != EINPROGRESS)
		return -errno;
	return 0;
}

static void refused(struct connection *connection, int errnum)
{
	hang_up(connection);
	if (!connection->refused)
		connection->refused = errnum;
	connection->address++;
}

static void open_next(struct connection *connection)
{
	while (connection->address < ADDRESSES) {
		int r = try_address(connection);

		if (r == 0) {
			watch(connection);
			return;
		}
		refused(connection, -r);
	}
	tell_opened(connection, connection->refused);
	end(connection);
}

/* Return: false when @connection is no more. */
static bool send_queue(struct connection *connection)
{
	size_t before = connection->queue.len;
	int r = buf_flush(&connection->queue, connection->fd);

	if (before > connection->queue.len)
		port_send_taken(&connection->agent->port, connection->stream,
				(uint32_t)(before - connection->queue.len));
	if (r == 0 && connection->host_ended && !connection->queue.len &&
	    !connection->told_program) {
		connection->told_program = true;
		r = shutdown(connection->fd, SHUT_WR) < 0 ? -errno : 0;
	}
	if (r < 0 || (connection->told_program && connection->program_ended)) {
		tell_end(connection);
		return false;
	}
	return true;
}

static void connected(struct connection *connection)
{
	int failed = 0;
	socklen_t len = sizeof(failed);

	getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &failed, &len);
	if (failed) {
		refused(connection, failed);
		open_next(connection);
		return;
	}
	connection->opened = true;
	tell_opened(connection, 0);
	if (send_queue(connection))
		watch(connection);
}

/* Return: false when @connection is no more. */
static bool take_input(struct connection *connection)
{
	struct port *port = &connection->agent->port;
	size_t room = connection->window < CHUNK ? connection->window : CHUNK;
	ssize_t n = read(connection->fd, chunk, room);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n > 0) {
		connection->window -= (uint32_t)n;
		port_send(port, connection->stream, AGENT_STDOUT, chunk, (size_t)n);
		return true;
	}
	if (n == 0) {
		connection->program_ended = true;
		port_send(port, connection->stream, AGENT_PORT_EOF, NULL, 0);
	}
	if (n == 0 && !connection->told_program)
		return true;
	tell_end(connection);
	return false;
}

static void connection_event(struct loop_source *source, uint32_t revents)
{
	struct connection *connection = container_of(source, struct connection, source);

	if (!connection->opened) {
		connected(connection);
		return;
	}
	if (connection->queue.len && !send_queue(connection))
		return;
	if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR) && wants_input(connection) &&
	    !take_input(connection))
		return;
	watch(connection);
}

static void begin(struct agent *agent, const struct agent_frame *frame)
{
	struct connection *connection;
	struct error err;
	uint16_t port;

	if (agent_get_port_open(frame, &port, &err) < 0) {
		log_say("%s", err.text);
		return;
	}
	connection = find(agent, frame->stream) || agent->port_count >= CONNECTIONS
			 ? NULL
			 : calloc(1, sizeof(*connection));
	if (!connection) {
		port_send_opened(&agent->port, frame->stream, EMFILE);
		return;
	}
	connection->agent = agent;
	connection->stream = frame->stream;
	connection->port = port;
	connection->fd = -1;
	connection->source = LOOP_SOURCE_NONE;
	connection->window = AGENT_PORT_WINDOW;
	list_add_before(&agent->ports, &connection->link);
	agent->port_count++;
	open_next(connection);
}

static void take_bytes(struct connection *connection, const struct agent_frame *frame)
{
	if (connection->host_ended ||
	    connection->queue.len + frame->len > AGENT_STDIN_WINDOW ||
	    buf_append(&connection->queue, frame->payload, frame->len) < 0) {
		log_say("a connection breaks: out of memory, or the host sent too much");
		tell_end(connection);
	} else if (!connection->opened || send_queue(connection)) {
		watch(connection);
	}
}

static void take_end(struct connection *connection)
{
	connection->host_ended = true;
	if (connection->opened && send_queue(connection))
		watch(connection);
}

static void take_room(struct connection *connection, const struct agent_frame *frame)
{
	struct error err;
	uint32_t bytes;

	if (agent_get_port_taken(frame, &bytes, &err) < 0) {
		log_say("%s", err.text);
		return;
	}
	connection->window += bytes;
	watch(connection);
}

void ports_frame(struct agent *agent, const struct agent_frame *frame)
{
	struct connection *connection;

	if (frame->type == AGENT_PORT_OPEN) {
		begin(agent, frame);
		return;
	}
	connection = find(agent, frame->stream);
	if (!connection)
		return;
	if (frame->type == AGENT_STDIN)
		take_bytes(connection, frame);
	else if (frame->type == AGENT_STDIN_EOF)
		take_end(connection);
	else if (frame->type == AGENT_PORT_TAKEN)
		take_room(connection, frame);
	else if (frame->type == AGENT_PORT_CLOSE)
		end(connection);
}

void ports_resume(struct agent *agent)
{
	struct connection *connection;

	list_for_each (connection, &agent->ports, struct connection, link)
		if (connection->opened)
			watch(connection);
}

void ports_end(struct agent *agent)
{
	struct connection *connection;

	list_for_each (connection, &agent->ports, struct connection, link)
		end(connection);
}
