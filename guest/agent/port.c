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
 * A write to a virtio port sends 32 KiB at most, and each is an exit of the VM and an
 * interrupt or two. What is spliced into it goes as one, by its pages. So all that is
 * larger goes through a pipe. What is in the pipe comes first.
 *
 * A virtio port whose host end is closed reports a hang-up without end, and reads
 * nothing. The port then rests until a timer tries it again.
 */
#include "guest/agent/port.h"

#include "guest/agent/log.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_CHUNK  (64u << 10)
#define IN_ROOM	    (AGENT_HEADER + AGENT_PAYLOAD_MAX + READ_CHUNK)
#define OUT_ROOM    (PORT_HIGH + (size_t)2 * AGENT_PAYLOAD_MAX)
#define PIPE_ROOM   (512 << 10)
#define ONE_WRITE   (32u << 10) /* bytes that a port takes at a time */
#define RETRY_MSECS 50

static void port_event(struct loop_source *source, uint32_t revents);

static size_t waiting(const struct port *port)
{
	return port->out.len + port->piped;
}

static void watch_output(struct port *port)
{
	loop_mod(port->loop, &port->source, waiting(port) ? EPOLLIN | EPOLLOUT : EPOLLIN);
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
	ssize_t n = buf_fill_up(&port->in, port->fd, READ_CHUNK);

	if (n > 0)
		take_frames(port);
	else if (n == 0 || (n != -EAGAIN && n != -ENOMEM))
		host_is_away(port);
}

/* Return: bytes that have moved on, or -errno. */
static ssize_t fill_pipe(struct port *port)
{
	ssize_t n = write(port->pipe[1], buf_peek(&port->out), port->out.len);

	if (n < 0)
		return -errno;
	buf_consume(&port->out, (size_t)n);
	port->piped += (size_t)n;
	return n;
}

static ssize_t empty_pipe(struct port *port)
{
	ssize_t n =
	    splice(port->pipe[0], NULL, port->fd, NULL, port->piped, SPLICE_F_NONBLOCK);

	if (n == 0)
		log_fatal("the driver of the agent port has lost %zu bytes", port->piped);
	if (n < 0)
		return -errno;
	port->piped -= (size_t)n;
	return n;
}

/* Send as much as the port takes. Return: 0 or -errno. */
static int flush(struct port *port)
{
	ssize_t n = 0;

	while (n >= 0 || n == -EINTR) {
		if (port->piped)
			n = empty_pipe(port);
		else if (port->out.len > ONE_WRITE)
			n = fill_pipe(port);
		else
			return buf_flush(&port->out, port->fd);
	}
	return n == -EAGAIN ? 0 : (int)n;
}

static void write_port(struct port *port)
{
	int r = flush(port);

	if (r < 0 && port->may_end)
		exit(0);
	watch_output(port);
	if (port->full && waiting(port) <= PORT_LOW) {
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
	if (pipe2(port->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(err, errno, "cannot make a pipe to the agent port");
	fcntl(port->pipe[1], F_SETPIPE_SZ, PIPE_ROOM);
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

void port_send_opened(struct port *port, uint32_t stream, uint32_t errnum)
{
	queued(port, agent_put_port_opened(&port->out, port->epoch, stream, errnum));
}

bool port_has_room(struct port *port)
{
	if (waiting(port) < PORT_HIGH)
		return true;
	port->full = true;
	return false;
}
