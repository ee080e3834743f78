/*
 * For tests that are the guest: a reply about files as one frame.
 */
#pragma once

#include "wire/files.h"

/** put_reply() - append a reply, with its data, as one frame. */
static inline void put_reply(struct buf *out, uint16_t epoch, uint32_t stream,
			     const struct files_reply *reply)
{
	uint8_t head[FILES_REPLY_HEAD];
	size_t len = files_put_reply_head(head + sizeof(head), epoch, stream, reply);

	buf_append(out, head + sizeof(head) - len, len);
	buf_append(out, reply->data, reply->data_len);
}
