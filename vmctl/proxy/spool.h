/*
 * The body of a request, while it is kept: in a buffer while it is small, then in a file in
 * memory, since this process sees no other files.
 */
#pragma once

#include "util/buf.h"

#define SPOOL_MEMORY (256u << 10) /* bytes */

struct spool {
	struct buf memory;
	int fd; /* -1: all is in memory */
	size_t len, taken;
};

#define SPOOL_NONE ((struct spool){.fd = -1})

/** spool_put() - more of it. Return: 0, or -errno when there is no room. */
int spool_put(struct spool *spool, const void *data, size_t len);

/** spool_take() - read on, from the beginning. Return: bytes, 0 at the end, or -errno. */
ssize_t spool_take(struct spool *spool, void *to, size_t max);

/** spool_fini() - forget it. */
void spool_fini(struct spool *spool);
