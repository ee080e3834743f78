/* The log of a run's output: every byte can be read again, wherever it is kept. */
#include "pffs/core/stream.h"

#include "tests/unit/tap.h"

#include <errno.h>

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 13));
}

static int append(struct stream *s, size_t len)
{
	uint8_t piece[8192];

	while (len) {
		size_t n = len < sizeof(piece) ? len : sizeof(piece);
		int r;

		for (size_t i = 0; i < n; i++)
			piece[i] = byte_at(s->size + i);
		r = stream_append(s, piece, n);
		if (r < 0)
			return r;
		len -= n;
	}
	return 0;
}

/* Read in odd pieces, so that some reads cross from the file into memory. */
static bool all_right(const struct stream *s, uint64_t from)
{
	uint8_t piece[100003];
	ssize_t n;

	while ((n = stream_read(s, from, piece, sizeof(piece))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (piece[i] != byte_at(from + (uint64_t)i))
				return false;
		from += (uint64_t)n;
	}
	return n == 0 && from == s->size;
}

static void short_output_stays_in_memory(void)
{
	struct stream s = STREAM_EMPTY;
	char got[8];

	is_int(stream_append(&s, "hello", 5), 0, "bytes are appended");
	is_int(stream_read(&s, 1, got, sizeof(got)), 4, "a read from the middle");
	is_mem(got, "ello", 4, "gives what is there");
	is_int(stream_read(&s, 5, got, 1), 0, "a read at the end is empty");
	is_int(stream_read(&s, 1u << 20, got, 1), 0, "so is one past the end");
	is_int(s.spool_fd, -1, "no file was needed");
	stream_seal(&s);
	is_int(stream_read(&s, 0, got, 5), 5, "a sealed stream can be read");
	is_int(s.spool_fd, -1, "and still needs no file");
	stream_fini(&s);
}

static void long_output_goes_to_a_file(void)
{
	struct stream s = STREAM_EMPTY;
	const uint64_t size = STREAM_MEMORY * 2ull + 12345;

	is_int(append(&s, size), 0, "more than fits in memory is appended");
	is_int(s.size, size, "its size is right");
	ok(s.tail.len <= STREAM_MEMORY, "memory holds no more than its limit");
	ok(s.spool_fd >= 0, "the rest is in a file");
	ok(all_right(&s, 0), "all of it can be read");
	ok(all_right(&s, STREAM_MEMORY - 3), "also from the middle");
	stream_seal(&s);
	is_int(s.tail.len, 0, "a sealed long stream keeps nothing in memory");
	ok(all_right(&s, 0), "and can be read all the same");
	stream_fini(&s);
}

static void dropped_bytes_free_their_memory(void)
{
	struct stream s = STREAM_EMPTY;

	append(&s, 100000);
	stream_drop(&s, 60000);
	is_int(s.tail.len, 40000, "dropped bytes are let go");
	ok(all_right(&s, 60000), "the others are still there");
	stream_fini(&s);
}

static int make_nothing(void *ctx)
{
	(void)ctx;
	return -ENOENT;
}

static void without_spool_space_nothing_is_lost(void)
{
	struct stream s = STREAM_EMPTY;
	int r;

	stream_set_spool(make_nothing, NULL);
	r = append(&s, STREAM_MEMORY * 2ull);
	is_int(r, -ENOENT, "the failure to spool is reported");
	ok(s.size <= STREAM_MEMORY && s.size > STREAM_MEMORY - 8192,
	   "what was appended before it is kept");
	ok(all_right(&s, 0), "and can be read");
	stream_fini(&s);
}

static void shared_bytes_are_a_past_that_does_not_change(void)
{
	struct stream a = STREAM_EMPTY, b, c;

	append(&a, 100000);
	is_int(stream_share(&b, &a), 0, "a stream is shared");
	is_int(stream_share(&c, &b), 0, "and again");
	append(&a, 50000);
	append(&b, 70000);
	ok(a.size == 150000 && b.size == 170000 && c.size == 100000,
	   "each grows by itself");
	ok(all_right(&a, 0) && all_right(&b, 99999) && all_right(&c, 5), "from what was");
	stream_fini(&a);
	is_int(stream_share(&a, &b), 0, "one that has grown is shared");
	stream_fini(&b);
	stream_fini(&c);
	ok(a.size == 170000 && all_right(&a, 0), "its bytes outlive it");
	stream_seal(&a);
	ok(all_right(&a, 0), "also sealed");
	stream_fini(&a);
}

int main(void)
{
	short_output_stays_in_memory();
	long_output_goes_to_a_file();
	dropped_bytes_free_their_memory();
	shared_bytes_are_a_past_that_does_not_change();
	without_spool_space_nothing_is_lost();
	return done_testing();
}
