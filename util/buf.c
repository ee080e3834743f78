#include "util/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *buf_reserve(struct buf *b, size_t len)
{
	size_t room;
	uint8_t *grown;

	if (b->room - b->head - b->len >= len && b->data)
		return b->data + b->head + b->len;
	if (b->data && b->head) {
		memmove(b->data, b->data + b->head, b->len);
		b->head = 0;
	}
	if (b->room - b->len >= len && b->data)
		return b->data + b->len;
	if (len > SIZE_MAX / 2 - b->len)
		return NULL;
	room = b->room ? b->room : 4096;
	while (room < b->len + len)
		room *= 2;
	grown = realloc(b->data, room);
	if (!grown)
		return NULL;
	b->data = grown;
	b->room = room;
	return b->data + b->len;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	void *to;

	if (!len)
		return 0;
	to = buf_reserve(b, len);
	if (!to)
		return -ENOMEM;
	memcpy(to, data, len);
	b->len += len;
	return 0;
}

void buf_consume(struct buf *b, size_t len)
{
	b->head += len;
	b->len -= len;
	if (!b->len)
		b->head = 0;
}

int buf_flush(struct buf *b, int fd)
{
	while (b->len) {
		ssize_t n = write(fd, buf_peek(b), b->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		buf_consume(b, (size_t)n);
	}
	return 0;
}

ssize_t buf_fill(struct buf *b, int fd, size_t max)
{
	void *to = buf_reserve(b, max);
	ssize_t n;

	if (!to)
		return -ENOMEM;
	do
		n = read(fd, to, max);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	b->len += (size_t)n;
	return n;
}

ssize_t buf_fill_up(struct buf *b, int fd, size_t max)
{
	size_t got = 0;
	ssize_t n = 1;

	if (!buf_reserve(b, max))
		return -ENOMEM;
	while (got < max && (n = buf_fill(b, fd, max - got)) > 0)
		got += (size_t)n;
	return got ? (ssize_t)got : n;
}

void buf_fini(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}
