/* The byte queue: order, growth, and the two ends that face a descriptor. */
#include "util/buf.h"
#include "util/io.h"

#include "tests/unit/tap.h"

#include <errno.h>
#include <unistd.h>

static void bytes_leave_in_the_order_they_came(void)
{
	struct buf b = {0};

	is_int(buf_append(&b, "hello ", 6), 0, "bytes go in");
	is_int(buf_append(&b, "world", 5), 0, "and more bytes");
	is_int(buf_append(&b, NULL, 0), 0, "and none at all");
	is_int(b.len, 11, "they are all there");
	is_mem(buf_peek(&b), "hello world", 11, "in order");
	buf_consume(&b, 6);
	is_mem(buf_peek(&b), "world", 5, "the front is consumed");
	buf_consume(&b, 5);
	is_int(b.len, 0, "and the rest");
	buf_fini(&b);
	is_int(buf_append(&b, "x", 1), 0, "a finished buffer is usable again");
	buf_fini(&b);
	is_int(b.len, 0, "and empty once more");
}

static void a_queue_that_never_empties_does_not_grow(void)
{
	struct buf b = {0};
	uint8_t in[1000], next_in = 0, next_out = 0;
	bool same = true;

	for (int round = 0; round < 1000; round++) {
		for (size_t i = 0; i < sizeof(in); i++)
			in[i] = next_in++;
		buf_append(&b, in, sizeof(in));
		for (size_t i = round ? 0 : 1; i < sizeof(in); i++) {
			same = same && *buf_peek(&b) == next_out++;
			buf_consume(&b, 1);
		}
	}
	ok(same, "a million bytes through a queue come out the same");
	is_int(b.len, 1, "the one that was held back is still there");
	ok(b.room <= 8192, "the memory did not grow with the bytes that passed");
	buf_fini(&b);
}

static void an_absurd_size_is_refused(void)
{
	struct buf b = {0};

	buf_append(&b, "abc", 3);
	ok(!buf_reserve(&b, SIZE_MAX), "no room for SIZE_MAX bytes");
	ok(!buf_reserve(&b, SIZE_MAX - 2), "nor for a sum that would wrap");
	is_int(b.len, 3, "and the buffer is as it was");
	is_mem(buf_peek(&b), "abc", 3, "with its bytes");
	buf_fini(&b);
}

static void a_full_pipe_keeps_the_rest(void)
{
	struct buf out = {0}, in = {0};
	static uint8_t big[1 << 20];
	int fd[2];

	if (pipe(fd) < 0) {
		ok(false, "cannot make a pipe");
		return;
	}
	io_set_nonblock(fd[0], true);
	io_set_nonblock(fd[1], true);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + i / 256);
	buf_append(&out, big, sizeof(big));
	is_int(buf_fill(&in, fd[0], 100), -EAGAIN, "an empty pipe says -EAGAIN");
	is_int(buf_flush(&out, fd[1]), 0, "a pipe that fills up is no error");
	ok(out.len > 0 && out.len < sizeof(big), "what did not fit stays in the buffer");
	while (in.len < sizeof(big)) {
		ssize_t n = buf_fill(&in, fd[0], 65536);

		if (n == -EAGAIN)
			n = buf_flush(&out, fd[1]);
		if (n < 0)
			break;
	}
	is_int(in.len, sizeof(big), "all of it arrives in turns");
	is_mem(buf_peek(&in), big, sizeof(big), "byte for byte");
	close(fd[1]);
	is_int(buf_fill(&in, fd[0], 100), 0, "a closed pipe is the end of file");
	close(fd[0]);
	buf_fini(&in);
	buf_fini(&out);
}

static void errors_of_a_descriptor_come_back(void)
{
	struct buf b = {0};

	buf_append(&b, "x", 1);
	is_int(buf_flush(&b, -1), -EBADF, "flush to no descriptor");
	is_int(b.len, 1, "keeps the bytes");
	is_int(buf_fill(&b, -1, 10), -EBADF, "fill from no descriptor");
	is_int(b.len, 1, "adds none");
	buf_fini(&b);
}

int main(void)
{
	bytes_leave_in_the_order_they_came();
	a_queue_that_never_empties_does_not_grow();
	an_absurd_size_is_refused();
	a_full_pipe_keeps_the_rest();
	errors_of_a_descriptor_come_back();
	return done_testing();
}
