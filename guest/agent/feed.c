#include "guest/agent/feed.h"

#include "guest/agent/log.h"

#include <errno.h>
#include <unistd.h>

void feed_init(struct feed *feed, struct port *port, uint32_t stream)
{
	*feed = (struct feed){
	    .port = port,
	    .source = LOOP_SOURCE_NONE,
	    .fd = -1,
	    .stream = stream,
	};
}

static void taken(struct feed *feed, size_t bytes)
{
	if (bytes)
		port_send_taken(feed->port, feed->stream, (uint32_t)bytes);
}

static void close_pipe(struct feed *feed)
{
	loop_del(feed->port->loop, &feed->source);
	if (feed->fd >= 0)
		close(feed->fd);
	feed->fd = -1;
}

void feed_close(struct feed *feed)
{
	size_t dropped = feed->queue.len;

	close_pipe(feed);
	feed->closed = true;
	buf_fini(&feed->queue);
	taken(feed, dropped);
}

static void feed_event(struct loop_source *source, uint32_t revents);

/* The pipe is watched only while bytes wait: its error state, which cannot be
 * masked, stays as long as nobody reads. */
static void watch(struct feed *feed)
{
	if (!feed->queue.len)
		loop_del(feed->port->loop, &feed->source);
	else if (feed->source.fd < 0 && loop_add(feed->port->loop, &feed->source, feed->fd,
						 EPOLLOUT, feed_event) < 0)
		feed_close(feed);
}

static void push(struct feed *feed)
{
	size_t before = feed->queue.len;

	if (feed->fd < 0)
		return;
	if (buf_flush(&feed->queue, feed->fd) < 0) {
		taken(feed, before - feed->queue.len);
		feed_close(feed); /* the program closed its stdin */
		return;
	}
	taken(feed, before - feed->queue.len);
	if (!feed->queue.len && feed->eof)
		feed_close(feed);
	else
		watch(feed);
}

static void feed_event(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	push(container_of(source, struct feed, source));
}

void feed_open(struct feed *feed, int fd)
{
	feed->fd = fd;
	push(feed);
}

void feed_bytes(struct feed *feed, const void *data, size_t len)
{
	if (feed->closed || feed->eof) {
		taken(feed, len);
		return;
	}
	if (feed->queue.len + len > AGENT_STDIN_WINDOW) {
		log_say("the host sent more stdin than the window takes");
		return;
	}
	if (buf_append(&feed->queue, data, len) < 0) {
		log_say("stdin is lost: out of memory");
		taken(feed, len);
		return;
	}
	push(feed);
}

void feed_eof(struct feed *feed)
{
	feed->eof = true;
	push(feed);
}
