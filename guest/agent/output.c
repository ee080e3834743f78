/*
 * Theory of operation
 *
 * While the program runs, every byte goes to the port as it comes, as long as the
 * port has room; otherwise the pipe is left alone and fills, which stops the
 * program. A pipe that nobody watches must be off the epoll set: a hang-up cannot
 * be masked.
 *
 * A terminal's program writes each line by itself, and each frame is an exit of the VM. So
 * the first is sent at once, and what comes shortly after it together. A terminal gives a
 * few KiB at a time, so it is read until there is no more.
 *
 * A pipe is a queue, so at the program's end what it wrote itself is within the
 * bytes that the pipe holds then. Exactly so many are sent before the run's exit;
 * a background process that goes on writing cannot put the exit off. What a terminal holds
 * is not known, so it is read until there is no more. In either case what comes later is
 * read and dropped: who was left behind and writes must not wait.
 */
#include "guest/agent/output.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CHUNK	   (64u << 10) /* bytes moved at a time: what a pipe holds */
#define PACE_MSECS 4

/* The agent has one thread, so one buffer serves every stream. */
static uint8_t chunk[CHUNK];

void output_init(struct output *output, struct port *port, uint32_t stream,
		 enum agent_type type, void (*on_change)(struct output *output))
{
	*output = (struct output){
	    .port = port,
	    .source = LOOP_SOURCE_NONE,
	    .fd = -1,
	    .stream = stream,
	    .type = type,
	    .on_change = on_change,
	};
}

static void pause_ends(struct loop_timer *timer)
{
	output_resume(container_of(timer, struct output, pause));
}

void output_pace(struct output *output)
{
	output->paced = true;
	loop_timer_init(&output->pause, pause_ends);
}

void output_close(struct output *output)
{
	if (output->paced)
		loop_timer_cancel(&output->pause);
	loop_del(output->port->loop, &output->source);
	if (output->fd >= 0)
		close(output->fd);
	output->fd = -1;
	output->left = 0;
}

static ssize_t read_some(const struct output *output, uint8_t *to, size_t max)
{
	ssize_t n;

	do
		n = read(output->fd, to, max);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t read_pipe(const struct output *output, size_t max)
{
	size_t room = max < sizeof(chunk) ? max : sizeof(chunk);
	ssize_t n = read_some(output, chunk, room), more = n;
	size_t len = n < 0 ? 0 : (size_t)n;

	while (output->paced && more > 0 && len < room) {
		more = read_some(output, chunk + len, room - len);
		len += more < 0 ? 0 : (size_t)more;
	}
	return n < 0 ? n : (ssize_t)len;
}

/* Move one chunk. Return: false when there is nothing more to do for now. */
static bool pump(struct output *output)
{
	size_t max = output->state == OUTPUT_LAST ? output->left : sizeof(chunk);
	ssize_t n;

	if (output->state != OUTPUT_DISCARDED && !port_has_room(output->port)) {
		loop_del(output->port->loop, &output->source);
		return false;
	}
	n = read_pipe(output, max);
	if (n == -EAGAIN) {
		if (output->state == OUTPUT_DRAINED)
			output->state = OUTPUT_DISCARDED;
		return false;
	}
	if (n <= 0) {
		output_close(output);
		return false;
	}
	if (output->state != OUTPUT_DISCARDED)
		port_send(output->port, output->stream, output->type, chunk, (size_t)n);
	if (output->state == OUTPUT_LAST)
		output->left -= (size_t)n;
	return true;
}

static void after_pump(struct output *output)
{
	if (output->state == OUTPUT_LAST && output->left == 0)
		output->state = OUTPUT_DISCARDED;
	if (output->fd < 0 || output->state == OUTPUT_DISCARDED)
		output->on_change(output);
}

static void output_event(struct loop_source *source, uint32_t revents)
{
	struct output *output = container_of(source, struct output, source);

	(void)revents;
	if (pump(output) && output->paced) {
		loop_del(output->port->loop, &output->source);
		loop_timer_set(output->port->loop, &output->pause, PACE_MSECS);
	}
	after_pump(output);
}

int output_open(struct output *output, int fd)
{
	output->fd = fd;
	output->state = OUTPUT_LIVE;
	output->left = 0;
	return loop_add(output->port->loop, &output->source, fd, EPOLLIN, output_event);
}

void output_finish(struct output *output)
{
	int held = 0;

	if (output->fd >= 0 && ioctl(output->fd, FIONREAD, &held) < 0)
		held = 0;
	output->left = (size_t)held;
	output->state = held ? OUTPUT_LAST : OUTPUT_DISCARDED;
	while (output->left && pump(output))
		;
	if (output->state == OUTPUT_LAST && output->left == 0)
		output->state = OUTPUT_DISCARDED;
	output_resume(output);
}

static void watch(struct output *output)
{
	if (output->fd < 0 || output->source.fd >= 0)
		return;
	if (loop_add(output->port->loop, &output->source, output->fd, EPOLLIN,
		     output_event) < 0)
		output_close(output);
}

void output_drain(struct output *output)
{
	output->state = OUTPUT_DRAINED;
	while (output->fd >= 0 && pump(output))
		;
	if (output->state == OUTPUT_DISCARDED)
		watch(output);
	after_pump(output);
}

bool output_is_sent(const struct output *output)
{
	return output->fd < 0 || output->state == OUTPUT_DISCARDED;
}

void output_resume(struct output *output)
{
	if (output->fd < 0 || output->source.fd >= 0)
		return;
	if (output->state != OUTPUT_DISCARDED && !port_has_room(output->port))
		return;
	if (output->state == OUTPUT_DRAINED)
		output_drain(output);
	else
		watch(output);
}
