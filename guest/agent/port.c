/*
 * Theory of operation
 *
 * Frames to send collect in `out` and leave when the loop finds the port
 * writable, so that what one turn of the loop produced leaves in one write: each
 * write is a VM exit. Both buffers get their full size at the start, so that a
 * guest short of memory still hears and answers; memory that was never touched costs
 * nothing. Program output and replies about files stop at PORT_HIGH; the room above it is
 * for the one that was begun below, and for the small frames.
 *
 * A virtio port whose host end is closed reports a hang-up without end, and reads
 * nothing. The port then rests until a timer tries it again.
 */
#include "guest/agent/port.h"

#include "guest/agent/log.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>

#define READ_CHUNK  (64u << 10)
#define IN_ROOM	    (AGENT_HEADER + AGENT_PAYLOAD_MAX + READ_CHUNK)
#define OUT_ROOM    (PORT_HIGH + (size_t)2 * AGENT_PAYLOAD_MAX)
#define RETRY_MSECS 50

static void port_event(struct loop_source *source, uint32_t revents);

static void watch_output(struct port *port)
{
	loop_mod(port->loop, &port->source, port->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void connect_source(struct port *port)
{
	if (loop_add(port->loop, &port->source, port->fd, EPOLLIN, port_event) < 0)
		loop_timer_set(port->loop, &port->retry, RETRY_MSECS);
	else
		watch_output(port);
}

static void retry_port(struct loop_timer *timer)
{
	connect_source(container_of(timer, struct port, retry));
}

static void host_is_away(struct port *port)
{
	if (port->may_end)
		exit(0);
	loop_del(port->loop, &port->source);
	loop_timer_set(port->loop, &port->retry, RETRY_MSECS);
}

static void take_frames(struct port *port)
{
	struct agent_frame frame;
	struct error err;
	int r;

	while ((r = agent_next(&port->in, &frame, &err)) > 0) {
		port->on_frame(port, &frame);
		buf_consume(&port->in, agent_frame_size(&frame));
	}
	if (r < 0)
		log_fatal("%s", err.text);
}

static void read_port(struct port *port)
{
	ssize_t n = buf_fill(&port->in, port->fd, READ_CHUNK);

	if (n > 0)
		take_frames(port);
	else if (n == 0 || (n != -EAGAIN && n != -ENOMEM))
		host_is_away(port);
}

static void write_port(struct port *port)
{
	int r = buf_flush(&port->out, port->fd);

	if (r < 0 && port->may_end)
		exit(0);
	watch_output(port);
	if (port->full && port->out.len <= PORT_LOW) {
		port->full = false;
		port->on_room(port);
	}
}

static void port_event(struct loop_source *source, uint32_t revents)
{
	struct port *port = container_of(source, struct port, source);

	if (revents & EPOLLOUT)
		write_port(port);
	if (revents & EPOLLIN)
		read_port(port);
	else if (revents & (EPOLLHUP | EPOLLERR))
		host_is_away(port);
}

int port_init(struct port *port, struct loop *loop, int fd, struct error *err)
{
	int r = io_set_nonblock(fd, true);

	if (r < 0)
		return error_set(err, -r, "cannot use the agent port");
	port->loop = loop;
	port->fd = fd;
	port->source = LOOP_SOURCE_NONE;
	loop_timer_init(&port->retry, retry_port);
	if (!buf_reserve(&port->in, IN_ROOM) || !buf_reserve(&port->out, OUT_ROOM))
		return error_set(err, ENOMEM, "cannot use the agent port");
	r = loop_add(loop, &port->source, fd, EPOLLIN, port_event);
	return r < 0 ? error_set(err, -r, "cannot watch the agent port") : 0;
}

static void queued(struct port *port, int r)
{
	if (r < 0)
		log_say("a frame to the host is lost: out of memory");
	watch_output(port);
}

void port_send(struct port *port, uint32_t stream, enum agent_type type,
	       const void *payload, size_t len)
{
	if (type == AGENT_STDOUT || type == AGENT_STDERR)
		port->before_output(port);
	queued(port, agent_put(&port->out, port->epoch, stream, type, payload, len));
}

void port_send_exit(struct port *port, uint32_t stream, const struct agent_exit *status)
{
	port->before_output(port);
	queued(port, agent_put_exit(&port->out, port->epoch, stream, status));
}

void port_send_taken(struct port *port, uint32_t stream, uint32_t bytes)
{
	queued(port, agent_put_stdin_taken(&port->out, port->epoch, stream, bytes));
}

bool port_has_room(struct port *port)
{
	if (port->out.len < PORT_HIGH)
		return true;
	port->full = true;
	return false;
}
