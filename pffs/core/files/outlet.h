/*
 * Bytes that are made as fast as somebody takes them: who makes them stops when there are
 * OUTLET_ENOUGH that nobody has taken.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"

#include <stdbool.h>

#define OUTLET_ENOUGH (1u << 20)

struct outlet {
	struct buf bytes; /* that nobody has taken yet */
	bool end;	  /* nothing comes behind these */
	struct error err; /* because of this; its code is 0 when all went well */
	/* The taker's: something has come, or the end. May take at once. */
	void (*came)(void *ctx);
	void *ctx;
	/* The maker's: there is room again. */
	void (*wanted)(struct outlet *outlet);
	/* The maker's: nobody takes any more; the outlet is gone then. */
	void (*close)(struct outlet *outlet);
};

/** outlet_is_full() - who makes the bytes is to wait. */
static inline bool outlet_is_full(const struct outlet *outlet)
{
	return outlet->bytes.len >= OUTLET_ENOUGH;
}

/** outlet_end() - the maker has made all, or no more because of @err. */
void outlet_end(struct outlet *outlet, const struct error *err);

/**
 * outlet_take() - take at most @max bytes.
 * Return: how many; 0 when there are none yet, -ENODATA at the end, or outlet->err's code.
 */
ssize_t outlet_take(struct outlet *outlet, void *to, size_t max);

/** outlet_close() - nobody takes any more. NULL is none. */
static inline void outlet_close(struct outlet *outlet)
{
	if (outlet)
		outlet->close(outlet);
}
