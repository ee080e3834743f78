/*
 * The stdin of a run, or what is typed into a terminal: the bytes that the host feeds, on
 * their way into a pipe, or the like.
 */
#pragma once

#include "guest/agent/port.h"
#include "util/buf.h"
#include "util/loop.h"

#include <stdbool.h>

struct feed {
	struct port *port;
	struct loop_source source;
	struct buf queue; /* at most AGENT_STDIN_WINDOW bytes */
	int fd;		  /* -1: the program has not begun, or reads no more */
	uint32_t stream;
	bool eof;    /* no bytes come after the queue */
	bool closed; /* nobody reads: bytes are taken and dropped */
};

/** feed_init() - a feed without a pipe; bytes wait in its queue. */
void feed_init(struct feed *feed, struct port *port, uint32_t stream);

/** feed_open() - write into @fd, a non-blocking pipe that is taken over. */
void feed_open(struct feed *feed, int fd);

/** feed_bytes() - @len more bytes from the host. */
void feed_bytes(struct feed *feed, const void *data, size_t len);

/** feed_eof() - close the pipe after the bytes that are queued. */
void feed_eof(struct feed *feed);

/** feed_close() - nobody reads any more. */
void feed_close(struct feed *feed);
