/*
 * The link protocol: pffs <-> vmctl, over one byte stream.
 *
 * Theory of operation
 *
 * The stream carries frames: a header of 12 bytes (payload length u32, channel
 * u32, type u8, three zero bytes) and the payload. The first frame each way is
 * LINK_HELLO. Channel 0 carries LINK_CONTROL frames, each one JSON object; every
 * other channel is the agent stream of the VM with that id, as LINK_DATA frames. Those of
 * pffs have whole frames of the agent's protocol, so that none is cut when it is killed;
 * the boundaries of vmctl's mean nothing.
 *
 * Flow control is per channel and direction. A sender may have at most
 * LINK_WINDOW bytes of data unacknowledged; the receiver returns what it has
 * disposed of with LINK_CREDIT. So a slow reader of one channel stalls that
 * channel alone. What a client has not returned yet is kept for the next one, which
 * `attach` can give it. Both windows are full when a channel comes into being (the
 * reply to `create` or `attach`), but for what is given again.
 *
 * LINK_BYE ends the client's session without ending the stream; the emulated
 * host's relay sends it, since its stream outlives its clients. The receiver
 * forgets the client as if the stream had closed, and a LINK_HELLO may follow.
 *
 * LINK_TICK says nothing. The relay sends one to the broker in the emulated host now and
 * then, see vmctl/host_relay.h. From a client it breaks the protocol.
 *
 * LINK_DISKS is the relay's word to the broker in the emulated host, one JSON object, of
 * no session and without a reply. From a client it breaks the protocol.
 *
 * Control requests are {"op": NAME, "seq": N, ...} and are answered by
 * {"seq": N, ...}, or {"seq": N, "error": SENTENCE, "errno": NAME-LESS NUMBER}.
 * Objects without "seq" are events. docs/protocols.md lists them all.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"
#include "wire/cursor.h"

#include <stdint.h>

#define LINK_VERSION 1
#define LINK_HEADER  12
#define LINK_PAYLOAD_MAX                                                                   \
	(384u << 10)		 /* bytes in one frame's payload; an agent's frame fits */
#define LINK_WINDOW (384u << 10) /* bytes of unacknowledged data per channel */
#define LINK_NONCE  16

enum link_type {
	LINK_HELLO = 1,
	LINK_CONTROL = 2,
	LINK_DATA = 3,
	LINK_CREDIT = 4,
	LINK_BYE = 5,
	LINK_DISKS = 6,
	LINK_TICK = 7,
};

struct link_frame {
	uint32_t channel;
	uint8_t type;
	uint32_t len;
	const uint8_t *payload; /* inside the decoder's buffer */
};

struct link_hello {
	uint32_t version;
	uint8_t nonce[LINK_NONCE]; /* the client's choice; the reply repeats it */
};

/**
 * link_next() - the first whole frame of @in.
 *
 * Return: 1 with @frame filled (then consume link_frame_size() bytes of @in),
 * 0 when more bytes are needed, -EPROTO with @err filled when the bytes are not
 * a frame; the stream cannot be used after that.
 */
int link_next(const struct buf *in, struct link_frame *frame, struct error *err);

/** link_frame_size() - header and payload of a frame, in bytes. */
static inline size_t link_frame_size(const struct link_frame *frame)
{
	return LINK_HEADER + frame->len;
}

/**
 * link_put() - append one frame to @out.
 * @len: at most LINK_PAYLOAD_MAX.
 * Return: 0 or -ENOMEM, -EMSGSIZE.
 */
int link_put(struct buf *out, uint32_t channel, enum link_type type, const void *payload,
	     size_t len);

/** link_put_hello() - append a LINK_HELLO of our version. Return: as link_put(). */
int link_put_hello(struct buf *out, const uint8_t nonce[LINK_NONCE]);

/** link_get_hello() - decode a LINK_HELLO. Return: 0, or -EPROTO with @err. */
int link_get_hello(const struct link_frame *frame, struct link_hello *hello,
		   struct error *err);

/** link_put_credit() - append a LINK_CREDIT of @bytes. Return: as link_put(). */
int link_put_credit(struct buf *out, uint32_t channel, uint32_t bytes);

/** link_get_credit() - decode a LINK_CREDIT. Return: 0 or -EPROTO with @err. */
int link_get_credit(const struct link_frame *frame, uint32_t *bytes, struct error *err);
