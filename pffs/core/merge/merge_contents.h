/*
 * The contents that a three-way merge wants to know, read from the guests.
 *
 * Theory of operation: item after item, and of each one side after the other, so that one
 * file is on its way at a time. A file that is too large to be merged by lines is not
 * kept, but hashed with a secret key, piece by piece: whether two are the same is told by
 * that. Between two files the event loop has its turn.
 */
#pragma once

#include "pffs/core/merge/merge3.h"
#include "pffs/core/merge/merge_changes.h"

struct contents;

struct contents_order {
	struct merge3 *merge;		     /* whose items are settled */
	const struct changes *changes;	     /* of forks before: ours may be in them */
	struct sandbox *sides[MERGE3_SIDES]; /* who has the files */
	uint64_t *merged; /* bytes of texts that were merged so far are added to it */
};

/** contents_fn - all items are settled, or @err says why not. */
typedef void contents_fn(void *ctx, const struct error *err);

/**
 * contents_begin() - settle all items.
 * @order: what it points to has to live until @done was called.
 * @done: called once, later.
 * Return: what contents_cancel() takes until @done was called; NULL without memory.
 */
struct contents *contents_begin(const struct contents_order *order, contents_fn *done,
				void *ctx);

/** contents_cancel() - nobody wants to know any more: @done is not called. */
void contents_cancel(struct contents *contents);
