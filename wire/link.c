#include "wire/link.h"

#include <errno.h>
#include <string.h>

static const char magic[8] = "pffslink";

int link_next(const struct buf *in, struct link_frame *frame, struct error *err)
{
	struct cursor c = cursor_over(buf_peek(in), in->len);
	uint32_t len, zero;

	if (in->len < LINK_HEADER)
		return 0;
	len = cursor_get_u32(&c);
	frame->channel = cursor_get_u32(&c);
	frame->type = cursor_get_u8(&c);
	zero = cursor_get_u8(&c) | cursor_get_u16(&c);
	if (len > LINK_PAYLOAD_MAX || zero || frame->type < LINK_HELLO ||
	    frame->type > LINK_TICK)
		return error_say(err, EPROTO,
				 "the peer does not speak the pffs link protocol");
	frame->len = len;
	frame->payload = cursor_get_raw(&c, len);
	return frame->payload ? 1 : 0;
}

int link_put(struct buf *out, uint32_t channel, enum link_type type, const void *payload,
	     size_t len)
{
	struct cursor c;
	void *at;

	if (len > LINK_PAYLOAD_MAX)
		return -EMSGSIZE;
	at = buf_reserve(out, LINK_HEADER + len);
	if (!at)
		return -ENOMEM;
	c = cursor_into(at, LINK_HEADER + len);
	cursor_put_u32(&c, (uint32_t)len);
	cursor_put_u32(&c, channel);
	cursor_put_u8(&c, (uint8_t)type);
	cursor_put_u8(&c, 0);
	cursor_put_u16(&c, 0);
	cursor_put_raw(&c, payload, len);
	out->len += LINK_HEADER + len;
	return 0;
}

int link_put_hello(struct buf *out, const uint8_t nonce[LINK_NONCE])
{
	uint8_t payload[sizeof(magic) + 4 + LINK_NONCE];
	struct cursor c = cursor_into(payload, sizeof(payload));

	cursor_put_raw(&c, magic, sizeof(magic));
	cursor_put_u32(&c, LINK_VERSION);
	cursor_put_raw(&c, nonce, LINK_NONCE);
	return link_put(out, 0, LINK_HELLO, payload, sizeof(payload));
}

int link_get_hello(const struct link_frame *frame, struct link_hello *hello,
		   struct error *err)
{
	struct cursor c = cursor_over(frame->payload, frame->len);
	const void *word = cursor_get_raw(&c, sizeof(magic));
	const void *nonce;

	hello->version = cursor_get_u32(&c);
	nonce = cursor_get_raw(&c, LINK_NONCE);
	if (frame->type != LINK_HELLO || frame->channel != 0 || !cursor_done(&c) ||
	    memcmp(word, magic, sizeof(magic)) != 0)
		return error_say(err, EPROTO,
				 "the peer does not speak the pffs link protocol");
	if (hello->version != LINK_VERSION)
		return error_say(err, EPROTO,
				 "the peer speaks version %u of the link protocol, not %u: "
				 "install pffs and vmctl of one release",
				 hello->version, LINK_VERSION);
	memcpy(hello->nonce, nonce, LINK_NONCE);
	return 0;
}

int link_put_credit(struct buf *out, uint32_t channel, uint32_t bytes)
{
	uint8_t payload[4];
	struct cursor c = cursor_into(payload, sizeof(payload));

	cursor_put_u32(&c, bytes);
	return link_put(out, channel, LINK_CREDIT, payload, sizeof(payload));
}

int link_get_credit(const struct link_frame *frame, uint32_t *bytes, struct error *err)
{
	struct cursor c = cursor_over(frame->payload, frame->len);

	*bytes = cursor_get_u32(&c);
	if (!cursor_done(&c) || *bytes > LINK_WINDOW)
		return error_say(err, EPROTO, "a credit frame is malformed");
	return 0;
}
