/*
 * The output of a run as lines of JSON, as it comes.
 *
 * Theory of operation: the bytes stay in the run's streams, and are read from there when a
 * reader wants them, however long a line is. What is kept here is the order in which
 * lines came to be complete: stretches of whole lines of one stream, noted each time that
 * the run changes. What is behind the last newline of a stream is a line when the run has
 * ended. Who reads slowly makes nobody wait, and this grow by 24 bytes at each change from
 * one stream to the other, up to 65,536 of them: what comes then is put to the last of its
 * stream, and so may be given before what was written before it.
 */
#pragma once

#include "pffs/core/run.h"
#include "util/buf.h"

#include <stdbool.h>

#define LINES_STREAMS 2 /* RUN_STDOUT and RUN_STDERR */

struct lines {
	struct run *run; /* a reference */
	struct watch watch;
	void (*changed)(struct lines *lines); /* something has come; or NULL */
	struct buf stretches;		      /* struct stretch */
	uint64_t noted[LINES_STREAMS];	      /* up to where whole lines were found */
	uint64_t looked[LINES_STREAMS];	      /* and looked for */
	uint64_t at[LINES_STREAMS];	      /* up to where they were given */
	uint64_t count;			      /* of events given */
	uint64_t until;			      /* end of the stretch that is being given */
	int64_t ts;			      /* its time, */
	int which;			      /* and stream; -1: none is */
	bool within;			      /* a line */
	bool ended, told;		      /* the run has; and its exit was given */
	int error;			      /* of a stream's file */
	struct buf out;
};

/** lines_init() - from the start of @run. @changed may be called before it has begun. */
void lines_init(struct lines *lines, struct run *run, void (*changed)(struct lines *lines));
void lines_fini(struct lines *lines);

/**
 * lines_read() - the next of it.
 * Return: how many bytes were put to @to, 0 at the end, -EAGAIN when nothing is there yet,
 * or another -errno.
 */
ssize_t lines_read(struct lines *lines, char *to, size_t len);

/**
 * lines_event() - append an event: {"type", "data", "seq", "ts"} and a newline.
 * @data: bytes of a line, without its newline.
 * Return: 0 or -ENOMEM.
 */
int lines_event(struct buf *out, const char *type, const char *data, size_t len,
		uint64_t seq, int64_t ts);

/** lines_exit() - append the event of the end of @run. Return: 0 or -ENOMEM. */
int lines_exit(struct buf *out, const struct run *run, uint64_t seq);
