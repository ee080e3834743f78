/*
 * A growable byte queue: append at the end, consume at the front.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf {
	uint8_t *data;
	size_t head, len, room; /* the bytes are data[head .. head + len) */
};

/** buf_reserve() - room for @len more bytes at the end.
 * Return: where they go (valid until the next call), or NULL without memory. */
void *buf_reserve(struct buf *b, size_t len);

/** buf_append() - copy @len bytes to the end. Return: 0 or -ENOMEM. */
int buf_append(struct buf *b, const void *data, size_t len);

/** buf_consume() - drop @len bytes (at most b->len) from the front. */
void buf_consume(struct buf *b, size_t len);

/** buf_peek() - the first byte; b->len of them are valid. NULL before the first. */
static inline const uint8_t *buf_peek(const struct buf *b)
{
	return b->data ? b->data + b->head : NULL;
}

/**
 * buf_flush() - write as much as a non-blocking @fd takes.
 * Return: 0 (b->len tells what is left) or -errno; -EAGAIN is not an error.
 */
int buf_flush(struct buf *b, int fd);

/**
 * buf_fill() - append up to @max bytes read from a non-blocking @fd.
 * Return: number of bytes, 0 at end of file, or -errno (-EAGAIN included).
 */
ssize_t buf_fill(struct buf *b, int fd, size_t max);

/**
 * buf_fill_up() - as buf_fill(), by as many reads as it takes: a virtio port gives a page
 * at a time. What was read comes before the end of file, or an error, behind it.
 */
ssize_t buf_fill_up(struct buf *b, int fd, size_t max);

/** buf_fini() - free the memory; the buffer is then empty and usable. */
void buf_fini(struct buf *b);
