/*
 * The line between relay and broker of an emulated host: how a relay, a new one perhaps,
 * and the broker come to agree on where the streams of the ports begin.
 *
 * Theory of operation
 *
 * The relay may be killed, and another one take its place. Each port is then left in the
 * middle of a frame, in both directions, and bytes are lost: QEMU throws away what it holds
 * for a socket that has closed. Neither side can tell from the port alone: the rest of a
 * frame that never came would be taken from what the next relay says, and go to a guest.
 *
 * So there is one more port, the line. A relay connects to all ports, and then says a
 * random number on the line. The broker lets go of all that the sessions on the ports
 * owned, forgets what it has read and what it had still to write, and begins each port with
 * that number; then it says it on the line, too. After that the relay begins each port with
 * it. What either side reads before the number is of a former time, and is skipped, so that
 * no frame is ever made of two halves. The line's own messages can be cut as well: each
 * begins with a word, which is looked for. One that is lost is sent again, and each time
 * with more patience.
 *
 * Between two relays a port hangs up, which the broker may see or not. If it does, the
 * sessions end at once.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"
#include "util/loop.h"
#include "wire/link.h"

#include <stdbool.h>

struct broker;

/** line_put() - append a message. Return: 0 or -ENOMEM. */
int line_put(struct buf *out, const uint8_t nonce[LINK_NONCE]);

/** line_take() - take the first message out of @in. Return: whether there was a whole one.
 */
bool line_take(struct buf *in, uint8_t nonce[LINK_NONCE]);

/** line_seek() - drop what is before @nonce, and it. Return: whether it was there; if not,
 * what may be its beginning stays. */
bool line_seek(struct buf *in, const uint8_t nonce[LINK_NONCE]);

/* The broker's end. */
struct line {
	struct broker *broker;
	struct loop_source source;
	struct buf in, out;
};

/**
 * line_init() - serve a relay.
 * @fd: non-blocking; the line's from now on, also on failure.
 * Return: 0 or -errno with @err filled.
 */
int line_init(struct line *line, struct broker *broker, int fd, struct error *err);
void line_fini(struct line *line);
