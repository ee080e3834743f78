#include "vmctl/ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define RING_LARGE (256u << 10) /* memory in use that is worth giving back */

static size_t place(const struct ring *ring, uint64_t position)
{
	return (size_t)((position - ring->at->base) % ring->size);
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

uint8_t *ring_space(const struct ring *ring, size_t *len)
{
	size_t at = place(ring, ring->at->head);

	*len = smaller(ring->size - ring_len(ring), ring->size - at);
	return ring->bytes + at;
}

static void set(uint64_t *position, uint64_t value)
{
	__atomic_store_n(position, value, __ATOMIC_SEQ_CST);
}

void ring_add(struct ring *ring, size_t len)
{
	size_t end = place(ring, ring->at->head) + len;

	if (end > ring->touched)
		ring->touched = smaller(end, ring->size);
	set(&ring->at->head, ring->at->head + len);
}

int ring_put(struct ring *ring, const void *data, size_t len)
{
	size_t first, at = place(ring, ring->at->head);

	if (len > ring->size - ring_len(ring))
		return -ENOSPC;
	first = smaller(len, ring->size - at);
	memcpy(ring->bytes + at, data, first);
	memcpy(ring->bytes, (const uint8_t *)data + first, len - first);
	ring_add(ring, len);
	return 0;
}

const uint8_t *ring_data(const struct ring *ring, size_t skip, size_t *len)
{
	size_t at = place(ring, ring->at->tail + skip);

	*len = smaller(ring_len(ring) - skip, ring->size - at);
	return ring->bytes + at;
}

void ring_drop(struct ring *ring, size_t len)
{
	set(&ring->at->tail, ring->at->tail + smaller(len, ring_len(ring)));
	if (ring_len(ring))
		return;
	set(&ring->at->base, ring->at->head);
	if (ring->touched < RING_LARGE)
		return;
	madvise(ring->bytes, ring->size, MADV_REMOVE);
	ring->touched = 0;
}
