/*
 * What a person types at a terminal of a sandbox, who may also want to leave: ^] d does,
 * and ^] twice types one ^].
 */
#pragma once

#include "util/buf.h"

#include <stdbool.h>

struct keys {
	bool person;	  /* it comes from a terminal */
	bool escaped;	  /* the last key was ^] */
	struct buf typed; /* not taken yet */
};

/** keys_take() - @count keys came. Return: whether the user leaves. */
bool keys_take(struct keys *keys, const char *typed, size_t count);

/** keys_end() - standard input has ended: as by ^D, unless something is to go before. */
void keys_end(struct keys *keys);

/** keys_fini() - forget what was not taken. */
void keys_fini(struct keys *keys);
