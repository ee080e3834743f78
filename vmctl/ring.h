/*
 * A queue of bytes of a fixed size, in memory that may be shared with another process.
 *
 * Theory of operation: the positions count all bytes that were ever put in and taken out.
 * Bytes are written first and then counted, by one store each, so that somebody who finds
 * the memory after its user was killed finds a whole queue. An empty queue begins anew
 * at the start of its memory (@base), which keeps one with little in it in one page.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* In the shared memory. */
struct ring_state {
	uint64_t head; /* bytes ever put in */
	uint64_t tail; /* bytes ever taken out */
	uint64_t base; /* the position that is at the start of the memory */
};

struct ring {
	struct ring_state *at;
	uint8_t *bytes; /* of whole pages */
	size_t size, touched;
};

/** ring_len() - how many bytes are in it. */
static inline size_t ring_len(const struct ring *ring)
{
	return (size_t)(ring->at->head - ring->at->tail);
}

/**
 * ring_space() - where more bytes go, in one piece.
 * @len: set to how many fit there; there may be more room behind them.
 */
uint8_t *ring_space(const struct ring *ring, size_t *len);

/** ring_add() - @len bytes have been written to ring_space(). */
void ring_add(struct ring *ring, size_t len);

/** ring_put() - put @len bytes in, all at once for whoever looks. Return: 0 or -ENOSPC. */
int ring_put(struct ring *ring, const void *data, size_t len);

/**
 * ring_data() - the bytes from @skip on, which are in it, in one piece.
 * @len: set to how many of them are there; more may follow.
 */
const uint8_t *ring_data(const struct ring *ring, size_t skip, size_t *len);

/** ring_drop() - take @len bytes out, or all if it has fewer. */
void ring_drop(struct ring *ring, size_t len);
