/*
 * Picks: which paths of a tree (wire/tree.h) somebody wants to know of, in place of all.
 *
 * Encoded, they stand one behind the other, in any order, and the same path may be there
 * more than once: then it is picked for the most of these. So two lists are made one by
 * putting the one behind the other.
 */
#pragma once

#include "util/buf.h"

#include <stdbool.h>
#include <stddef.h>

enum pick_how {
	PICK_NAME = 1, /* the path itself */
	PICK_NAMES,    /* a directory, and what is in it, without what is in that */
	PICK_ALL,      /* and all that is below it */
};

struct pick {
	const char *path; /* in the encoded bytes; "": the root */
	enum pick_how how;
};

struct picks {
	struct pick *list; /* in the order of a tree */
	size_t count;
};

/** picks_put() - append one. Return: 0 or -ENOMEM. */
int picks_put(struct buf *out, const char *path, enum pick_how how);

/**
 * picks_parse() - picks of their encoded bytes, which have to stay.
 * Return: 0, -ENOMEM or -EPROTO; @picks is then empty.
 */
int picks_parse(struct picks *picks, const void *data, size_t len);

void picks_fini(struct picks *picks);

/** picks_at() - Return: the first that is no earlier than @path; count: there is none. */
size_t picks_at(const struct picks *picks, const char *path);

/* Picks and the paths of a tree, gone through together. */
struct picks_sweep {
	const struct picks *picks;
	size_t next;
};

/**
 * picks_sweep_all() - is everything at @path, or at one above it, picked?
 * To be asked of one path after the other, in the order of a tree.
 */
bool picks_sweep_all(struct picks_sweep *sweep, const char *path);
