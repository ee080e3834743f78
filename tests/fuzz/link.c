/*
 * Fuzz target: a peer's bytes through the link decoder. Besides staying inside
 * the input, what it takes must be canonical: encoding it again gives the bytes
 * that were read.
 */
#include "wire/link.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_payload(const struct link_frame *frame, struct buf *again)
{
	struct error err;
	struct link_hello hello;
	uint32_t bytes;

	if (frame->type == LINK_HELLO && link_get_hello(frame, &hello, &err) == 0)
		link_put_hello(again, hello.nonce);
	else if (frame->type == LINK_CREDIT && link_get_credit(frame, &bytes, &err) == 0)
		link_put_credit(again, frame->channel, bytes);
	else
		link_put(again, frame->channel, frame->type, frame->payload, frame->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf in = {0}, again = {0};
	struct link_frame frame;
	struct error err;
	size_t used = 0;

	/* Not buf_append(): memory of the exact size shows a read past its end. */
	in.data = malloc(size ? size : 1);
	if (!in.data)
		return 0;
	memcpy(in.data, data, size);
	in.len = in.room = size;
	while (link_next(&in, &frame, &err) == 1) {
		check_payload(&frame, &again);
		used += link_frame_size(&frame);
		buf_consume(&in, link_frame_size(&frame));
	}
	if (again.len != used || (used && memcmp(buf_peek(&again), data, used) != 0))
		abort();
	buf_fini(&again);
	buf_fini(&in);
	return 0;
}
