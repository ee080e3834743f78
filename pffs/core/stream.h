/*
 * Append-only byte log: one output stream of one run, or what waits on stdin.
 *
 * Theory of operation: the newest bytes are in memory. When more than
 * STREAM_MEMORY bytes are held there, the oldest half goes to an unlinked spool
 * file at its own offset, so that any byte can be read again at any time. A
 * sealed stream keeps at most STREAM_SEALED bytes in memory, so that a long
 * history of runs costs disk and not RAM.
 *
 * Streams of forks share what they have in common: stream_share() makes all bytes so
 * far the past of both, which is sealed.
 */
#pragma once

#include "util/buf.h"

#include <stdint.h>
#include <sys/types.h>

#define STREAM_MEMORY (64u << 20) /* bytes of a live stream kept in memory */
#define STREAM_SEALED (64u << 10) /* bytes of a sealed stream kept in memory */

struct stream_past;

struct stream {
	uint64_t size;		  /* bytes appended since the start */
	struct buf tail;	  /* the newest bytes: offsets [size - tail.len, size) */
	int spool_fd;		  /* older ones; -1 while there are none */
	struct stream_past *past; /* the oldest, shared by streams; or NULL */
};

#define STREAM_EMPTY ((struct stream){.spool_fd = -1})

/**
 * stream_append() - add bytes at the end.
 *
 * Return: 0, or -errno when there is neither memory nor spool space; nothing
 * was added then and nothing that was there is lost.
 */
int stream_append(struct stream *s, const void *data, size_t len);

/**
 * stream_read() - copy bytes from any offset.
 * Return: number of bytes, 0 when @offset is at or past the end, or -errno of
 * the spool file.
 */
ssize_t stream_read(const struct stream *s, uint64_t offset, void *to, size_t len);

/** stream_copy() - append all of @from, from @offset on, to @to. Return: 0 or -errno. */
int stream_copy(struct stream *to, const struct stream *from, uint64_t offset);

/**
 * stream_share() - make @to, which is empty, a stream of the same bytes as @from; each
 * then grows by itself. Not for a stream of which bytes were dropped.
 * Return: 0 or -ENOMEM.
 */
int stream_share(struct stream *to, struct stream *from);

/** stream_seal() - no more will come: move all but little to the spool file. */
void stream_seal(struct stream *s);

/** stream_drop() - the bytes below @offset will not be read again. */
void stream_drop(struct stream *s, uint64_t offset);

/** stream_fini() - free the memory and the spool file. */
void stream_fini(struct stream *s);

/**
 * stream_set_spool() - how spool files are made; by default in /var/tmp.
 * @make: called with @ctx; returns the descriptor of an unnamed file, or -errno.
 */
void stream_set_spool(int (*make)(void *ctx), void *ctx);
