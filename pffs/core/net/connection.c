#include "pffs/core/net/connection.h"

#include "pffs/core/fork.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/record/freeze.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK	  16384u
#define QUEUE_MAX (256u << 10) /* bytes on the way to a guest at which clients wait */
#define CREDIT	  (AGENT_PORT_WINDOW / 4) /* so much is given back at a time */

enum state {
	WAITING, /* the guest knows nothing of it */
	OPENING, /* it has been asked */
	OPEN,
	ENDED,	   /* the guest has nothing more to say */
	ABANDONED, /* the client has gone, and the guest has yet to be told */
};

struct connection {
	struct link link; /* on ports->connections */
	struct ports *ports;
	uint16_t port;
	uint32_t stream; /* once the guest knows it */
	enum state state;
	struct loop_source source;
	int fd;		   /* the client's; -1: it has gone */
	bool client_ended; /* it sends no more */
	bool told_guest;   /* which the guest knows */
	bool guest_ended;  /* it sends no more */
	bool told_client;  /* which the client knows */
	uint32_t window;   /* bytes that the guest has room for */
	uint32_t due;	   /* bytes of room for the guest, which it has not been told of */
	uint32_t given;	   /* bytes that the guest may still send */
	struct buf out;	   /* for the client; at most AGENT_PORT_WINDOW */
};

static struct sandbox *sandbox_of(const struct connection *connection)
{
	return connection->ports->sb;
}

static struct loop *loop_of(const struct connection *connection)
{
	return sandbox_of(connection)->core->loop;
}

/* A part is not to be taken for the whole. */
static void hang_up(struct connection *connection)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	loop_del(loop_of(connection), &connection->source);
	if (connection->fd < 0)
		return;
	if (!connection->told_client || !connection->client_ended)
		setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(connection->fd);
	connection->fd = -1;
}

static void end(struct connection *connection)
{
	struct ports *ports = connection->ports;

	hang_up(connection);
	buf_fini(&connection->out);
	list_del(&connection->link);
	free(connection);
	if (ports->connection_count-- == CONNECTIONS_MAX)
		ports_watch(ports, true);
}

/* A fork or a freeze waits for what is on its way. */
static bool may_send(const struct sandbox *sb)
{
	return sb->state == SANDBOX_READY && sb->heard == sb->epoch && !sb->making &&
	       list_empty(&sb->forks) && !freeze_holds(sb);
}

/* Who is refused is told by connections_drained() when he may try again. */
static bool has_room(struct ports *ports)
{
	ports->blocked |= ports->sb->channel.out.len >= QUEUE_MAX;
	return ports->sb->channel.out.len < QUEUE_MAX;
}

static bool wants_input(const struct connection *connection)
{
	const struct sandbox *sb = sandbox_of(connection);

	return (connection->state == OPENING || connection->state == OPEN) &&
	       !connection->client_ended && connection->window && may_send(sb) &&
	       has_room(connection->ports);
}

static void client_event(struct loop_source *source, uint32_t revents);

/* What nothing is awaited of is not watched: a hang-up cannot be masked. */
static void watch(struct connection *connection)
{
	uint32_t events =
	    (wants_input(connection) ? EPOLLIN : 0) | (connection->out.len ? EPOLLOUT : 0);

	if (!events || connection->fd < 0)
		loop_del(loop_of(connection), &connection->source);
	else if (connection->source.fd >= 0)
		loop_mod(loop_of(connection), &connection->source, events);
	else
		loop_add(loop_of(connection), &connection->source, connection->fd, events,
			 client_event);
}

static struct buf *queue_of(const struct connection *connection)
{
	return &sandbox_of(connection)->channel.out;
}

static void say(const struct connection *connection, enum agent_type type, const void *data,
		size_t len)
{
	struct sandbox *sb = sandbox_of(connection);

	agent_put(&sb->channel.out, sb->epoch, connection->stream, type, data, len);
}

static void open_stream(struct connection *connection)
{
	struct ports *ports = connection->ports;

	if (ports->last_stream < AGENT_PORTS || ports->last_stream == AGENT_TERMINALS - 1)
		ports->last_stream = AGENT_PORTS - 1;
	connection->stream = ++ports->last_stream;
	connection->state = OPENING;
	connection->window = AGENT_STDIN_WINDOW;
	connection->given = AGENT_PORT_WINDOW;
	agent_put_port_open(queue_of(connection), ports->sb->epoch, connection->stream,
			    connection->port);
}

static void give_room(struct connection *connection)
{
	if (connection->state != OPEN || connection->due < CREDIT)
		return;
	agent_put_port_taken(queue_of(connection), sandbox_of(connection)->epoch,
			     connection->stream, connection->due);
	connection->given += connection->due;
	connection->due = 0;
}

/* Is there anything that the guest does not know yet? */
static bool is_due(const struct connection *connection)
{
	return connection->state == WAITING || connection->state == ABANDONED ||
	       connection->due >= CREDIT ||
	       (connection->client_ended && !connection->told_guest);
}

static void tell_guest(struct connection *connection)
{
	if (connection->state == ABANDONED) {
		say(connection, AGENT_PORT_CLOSE, NULL, 0);
		end(connection);
		return;
	}
	if (connection->state == WAITING)
		open_stream(connection);
	give_room(connection);
	if (connection->client_ended && !connection->told_guest) {
		say(connection, AGENT_STDIN_EOF, NULL, 0);
		connection->told_guest = true;
	}
}

static void tell_one(struct connection *connection)
{
	struct sandbox *sb = sandbox_of(connection);

	if (!is_due(connection) || !may_send(sb))
		return;
	tell_guest(connection);
	vmm_flush(&sb->channel);
}

void connections_resume(struct sandbox *sb)
{
	struct connection *connection;

	if (!sb->ports || list_empty(&sb->ports->connections))
		return;
	if (sb->state == SANDBOX_STORED)
		freeze_use(sb);
	if (!may_send(sb))
		return;
	list_for_each (connection, &sb->ports->connections, struct connection, link) {
		bool gone = connection->state == ABANDONED;

		if (is_due(connection))
			tell_guest(connection);
		if (!gone)
			watch(connection);
	}
	vmm_flush(&sb->channel);
}

void connections_drained(struct sandbox *sb)
{
	struct connection *connection;

	if (!sb->ports || !sb->ports->blocked)
		return;
	sb->ports->blocked = false;
	list_for_each (connection, &sb->ports->connections, struct connection, link)
		watch(connection);
}

/* The client is of no more use: the guest is told, now or when that may be. */
static void abandon(struct connection *connection)
{
	bool known = connection->state == OPENING || connection->state == OPEN;

	hang_up(connection);
	buf_fini(&connection->out);
	if (!known) {
		end(connection);
		return;
	}
	connection->state = ABANDONED;
	tell_one(connection);
}

/* Return: false when @connection may be no more. */
static bool take_input(struct connection *connection)
{
	size_t room = connection->window < CHUNK ? connection->window : CHUNK;
	uint8_t piece[CHUNK];
	ssize_t n = read(connection->fd, piece, room);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	limits_used(sandbox_of(connection));
	if (n < 0) {
		abandon(connection);
		return false;
	}
	connection->client_ended = n == 0;
	connection->window -= (uint32_t)n;
	if (n > 0) {
		say(connection, AGENT_STDIN, piece, (size_t)n);
		vmm_flush(&sandbox_of(connection)->channel);
	}
	tell_one(connection);
	return true;
}

/* All that the guest will ever say has been handed on. Return: false when @connection is no
 * more. */
static bool settle(struct connection *connection)
{
	if (connection->out.len)
		return true;
	if (connection->guest_ended && !connection->told_client) {
		connection->told_client = true;
		shutdown(connection->fd, SHUT_WR);
	}
	if (connection->state != ENDED)
		return true;
	end(connection);
	return false;
}

/* Return: false when @connection may be no more. */
static bool send_output(struct connection *connection)
{
	size_t before = connection->out.len;

	if (buf_flush(&connection->out, connection->fd) < 0) {
		abandon(connection);
		return false;
	}
	connection->due += (uint32_t)(before - connection->out.len);
	tell_one(connection);
	return settle(connection);
}

static void client_event(struct loop_source *source, uint32_t revents)
{
	struct connection *connection = container_of(source, struct connection, source);

	if (connection->out.len && !send_output(connection))
		return;
	if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR) && wants_input(connection) &&
	    !take_input(connection))
		return;
	watch(connection);
}

void connection_new(struct port *port, int fd)
{
	struct sandbox *sb = port->ports->sb;
	struct connection *connection =
	    sb->state == SANDBOX_DEAD ? NULL : calloc(1, sizeof(*connection));

	if (!connection) {
		close(fd);
		return;
	}
	connection->ports = port->ports;
	connection->port = port->number;
	connection->fd = fd;
	connection->source = LOOP_SOURCE_NONE;
	list_add_before(&port->ports->connections, &connection->link);
	if (++port->ports->connection_count == CONNECTIONS_MAX)
		ports_watch(port->ports, false);
	limits_used(sb);
	connections_resume(sb);
}

static struct connection *find(const struct ports *ports, uint32_t stream)
{
	struct connection *connection;

	list_for_each (connection, &ports->connections, struct connection, link)
		if (connection->stream == stream && connection->state != WAITING)
			return connection;
	return NULL;
}

static void refused(struct connection *connection, uint32_t errnum)
{
	struct sandbox *sb = sandbox_of(connection);
	struct error err;

	error_set(&err, errnum < 4096 ? (int)errnum : EIO,
		  "nothing in %s answers at port %u", sb->name, connection->port);
	sandbox_fail(sb, &err);
	end(connection);
}

static int handle_opened(struct connection *connection, const struct agent_frame *frame,
			 struct error *err)
{
	uint32_t errnum;
	int r = agent_get_port_opened(frame, &errnum, err);

	if (r < 0 || connection->state != OPENING)
		return r;
	connection->state = OPEN;
	if (errnum)
		refused(connection, errnum);
	return 0;
}

static int handle_output(struct connection *connection, const struct agent_frame *frame,
			 struct error *err)
{
	if (connection->state != OPEN || connection->guest_ended ||
	    frame->len > connection->given)
		return error_say(err, EPROTO,
				 "the guest sent more on a connection than it may");
	connection->given -= frame->len;
	limits_used(sandbox_of(connection));
	if (buf_append(&connection->out, frame->payload, frame->len) < 0) {
		abandon(connection);
		return 0;
	}
	if (send_output(connection))
		watch(connection);
	return 0;
}

static int handle_taken(struct connection *connection, const struct agent_frame *frame,
			struct error *err)
{
	uint32_t bytes;
	int r = agent_get_stdin_taken(frame, &bytes, err);

	if (r < 0)
		return r;
	if (bytes > AGENT_STDIN_WINDOW - connection->window)
		return error_say(err, EPROTO,
				 "the guest took more of a connection than it was given");
	connection->window += bytes;
	watch(connection);
	return 0;
}

static void handle_end(struct connection *connection, const struct agent_frame *frame)
{
	if (frame->type == AGENT_PORT_EOF)
		connection->guest_ended = true;
	else
		connection->state = ENDED;
	if (settle(connection))
		watch(connection);
}

/* Of one that has gone, they crossed its end on the way. */
int connections_frame(struct sandbox *sb, const struct agent_frame *frame,
		      struct error *err)
{
	struct connection *connection = sb->ports ? find(sb->ports, frame->stream) : NULL;

	if (!connection || connection->fd < 0)
		return 0;
	switch (frame->type) {
	case AGENT_PORT_OPENED:
		return handle_opened(connection, frame, err);
	case AGENT_STDOUT:
		return handle_output(connection, frame, err);
	case AGENT_STDIN_TAKEN:
		return handle_taken(connection, frame, err);
	case AGENT_PORT_EOF:
	case AGENT_PORT_CLOSED:
		handle_end(connection, frame);
		return 0;
	default:
		return 0;
	}
}

void connections_abandon(struct ports *ports, const struct port *port)
{
	struct connection *connection;

	list_for_each (connection, &ports->connections, struct connection, link)
		if (connection->state != ABANDONED &&
		    (!port || connection->port == port->number))
			abandon(connection);
}

void connections_end(struct ports *ports, bool waiting)
{
	struct connection *connection;

	list_for_each (connection, &ports->connections, struct connection, link)
		if (waiting || connection->state != WAITING)
			end(connection);
}
