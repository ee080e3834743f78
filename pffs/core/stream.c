#include "pffs/core/stream.h"

#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct stream_past {
	unsigned refs;
	struct stream bytes;
};

static int make_in_tmp(void *ctx)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	(void)ctx;
	return fd < 0 ? -errno : fd;
}

static int (*make_spool)(void *ctx) = make_in_tmp;
static void *make_spool_ctx;

void stream_set_spool(int (*make)(void *ctx), void *ctx)
{
	make_spool = make;
	make_spool_ctx = ctx;
}

static uint64_t tail_start(const struct stream *s)
{
	return s->size - s->tail.len;
}

/* Move the oldest @len bytes of the tail to the spool file. */
static int spool(struct stream *s, size_t len)
{
	int r;

	if (!len)
		return 0;
	if (s->spool_fd < 0) {
		r = make_spool(make_spool_ctx);
		if (r < 0)
			return r;
		s->spool_fd = r;
	}
	r = io_pwrite_all(s->spool_fd, buf_peek(&s->tail), len, tail_start(s));
	if (r == 0)
		buf_consume(&s->tail, len);
	return r;
}

int stream_append(struct stream *s, const void *data, size_t len)
{
	int r = 0;

	if (s->tail.len + len > STREAM_MEMORY)
		r = spool(s, s->tail.len - s->tail.len / 2);
	if (r == 0)
		r = buf_append(&s->tail, data, len);
	if (r == 0)
		s->size += len;
	return r;
}

ssize_t stream_read(const struct stream *s, uint64_t offset, void *to, size_t len)
{
	uint64_t start;
	ssize_t n;

	while (s->past && offset < s->past->bytes.size)
		s = &s->past->bytes;
	if (offset >= s->size)
		return 0;
	start = tail_start(s);
	if (len > s->size - offset)
		len = (size_t)(s->size - offset);
	if (offset >= start) {
		memcpy(to, buf_peek(&s->tail) + (offset - start), len);
		return (ssize_t)len;
	}
	if (len > start - offset)
		len = (size_t)(start - offset);
	do
		n = pread(s->spool_fd, to, len, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int stream_copy(struct stream *to, const struct stream *from, uint64_t offset)
{
	uint8_t piece[65536];
	ssize_t n;

	while ((n = stream_read(from, offset, piece, sizeof(piece))) > 0) {
		int r = stream_append(to, piece, (size_t)n);

		if (r < 0)
			return r;
		offset += (uint64_t)n;
	}
	return (int)n;
}

int stream_share(struct stream *to, struct stream *from)
{
	struct stream_past *past = from->past;

	if (!past || past->bytes.size < from->size) {
		past = malloc(sizeof(*past));
		if (!past)
			return -ENOMEM;
		stream_seal(from);
		*past = (struct stream_past){.refs = 1, .bytes = *from};
		*from = STREAM_EMPTY;
		from->size = past->bytes.size;
		from->past = past;
	}
	past->refs++;
	*to = STREAM_EMPTY;
	to->size = from->size;
	to->past = past;
	return 0;
}

void stream_seal(struct stream *s)
{
	struct buf small = {0};

	if (s->tail.len > STREAM_SEALED) {
		/* Without spool space the bytes stay where they are. */
		if (spool(s, s->tail.len) == 0)
			buf_fini(&s->tail);
		return;
	}
	if (s->tail.room > s->tail.len + 4096 &&
	    buf_append(&small, buf_peek(&s->tail), s->tail.len) == 0) {
		buf_fini(&s->tail);
		s->tail = small;
	}
}

void stream_drop(struct stream *s, uint64_t offset)
{
	uint64_t start = tail_start(s);

	if (offset > start)
		buf_consume(&s->tail, (size_t)(offset - start));
	if (s->spool_fd >= 0 && offset >= start) {
		close(s->spool_fd);
		s->spool_fd = -1;
	}
}

static void fini_own(struct stream *s)
{
	buf_fini(&s->tail);
	if (s->spool_fd >= 0)
		close(s->spool_fd);
}

void stream_fini(struct stream *s)
{
	struct stream_past *past = s->past, *older;

	fini_own(s);
	*s = STREAM_EMPTY;
	for (; past && !--past->refs; past = older) {
		older = past->bytes.past;
		fini_own(&past->bytes);
		free(past);
	}
}
