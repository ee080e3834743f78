/*
 * Walking over lists of buffers.
 */
#pragma once

#include <stddef.h>
#include <sys/uio.h>

/* A place in a list of buffers. */
struct iov_cursor {
	const struct iovec *iov;
	unsigned count; /* entries from iov on */
	size_t skip;	/* bytes of the first entry that are behind the cursor */
};

/** iov_at() - a cursor at the start of @count buffers. */
static inline struct iov_cursor iov_at(const struct iovec *iov, unsigned count)
{
	return (struct iov_cursor){.iov = iov, .count = count};
}

/**
 * iov_take() - the next bytes as buffers of their own; moves the cursor on.
 * @to:   receives at most @max buffers.
 * @len:  bytes wanted; set to the bytes taken, fewer at the list's end or when
 *        @max buffers do not hold them.
 *
 * Return: the number of buffers.
 */
unsigned iov_take(struct iov_cursor *cur, struct iovec *to, unsigned max, size_t *len);

/** iov_read() - copy the next @len bytes out. Return: bytes copied. */
size_t iov_read(struct iov_cursor *cur, void *to, size_t len);

/** iov_write() - copy @len bytes in. Return: bytes copied. */
size_t iov_write(struct iov_cursor *cur, const void *from, size_t len);

/** iov_skip() - move on by @len bytes. Return: bytes skipped. */
size_t iov_skip(struct iov_cursor *cur, size_t len);

/** iov_zero() - fill the next @len bytes with zeros. Return: bytes filled. */
size_t iov_zero(struct iov_cursor *cur, size_t len);
