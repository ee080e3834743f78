#include "vmctl/iov.h"

#include <stdint.h>
#include <string.h>

/* The next contiguous piece of at most @max bytes; empty at the end. */
static struct iovec next_piece(struct iov_cursor *cur, size_t max)
{
	struct iovec piece = {0};

	while (cur->count && cur->skip == cur->iov->iov_len) {
		cur->iov++;
		cur->count--;
		cur->skip = 0;
	}
	if (!cur->count)
		return piece;
	piece.iov_base = (uint8_t *)cur->iov->iov_base + cur->skip;
	piece.iov_len = cur->iov->iov_len - cur->skip;
	if (piece.iov_len > max)
		piece.iov_len = max;
	cur->skip += piece.iov_len;
	return piece;
}

unsigned iov_take(struct iov_cursor *cur, struct iovec *to, unsigned max, size_t *len)
{
	size_t left = *len;
	unsigned n = 0;

	while (left && n < max) {
		to[n] = next_piece(cur, left);
		if (!to[n].iov_len)
			break;
		left -= to[n++].iov_len;
	}
	*len -= left;
	return n;
}

size_t iov_read(struct iov_cursor *cur, void *to, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct iovec piece = next_piece(cur, len - done);

		if (!piece.iov_len)
			break;
		memcpy((uint8_t *)to + done, piece.iov_base, piece.iov_len);
		done += piece.iov_len;
	}
	return done;
}

size_t iov_write(struct iov_cursor *cur, const void *from, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct iovec piece = next_piece(cur, len - done);

		if (!piece.iov_len)
			break;
		memcpy(piece.iov_base, (const uint8_t *)from + done, piece.iov_len);
		done += piece.iov_len;
	}
	return done;
}

size_t iov_skip(struct iov_cursor *cur, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct iovec piece = next_piece(cur, len - done);

		if (!piece.iov_len)
			break;
		done += piece.iov_len;
	}
	return done;
}

size_t iov_zero(struct iov_cursor *cur, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct iovec piece = next_piece(cur, len - done);

		if (!piece.iov_len)
			break;
		memset(piece.iov_base, 0, piece.iov_len);
		done += piece.iov_len;
	}
	return done;
}
