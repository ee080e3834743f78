/*
 * What is different between the files of two sandboxes.
 *
 * Theory of operation: a side is a sandbox as it is now, or the fork point of one, or its
 * template. Both sides' guests are asked for their trees of changes; where the trees do
 * not tell, and for a patch, contents are read. All of it is requests to guests, of which
 * a few are on their way at a time. Sides whose machines were booted from different
 * images have trees over these: of these, all is listed.
 *
 * A side that is in use meanwhile is what it was at some moment of that, file by file.
 */
#pragma once

#include "pffs/core/sandbox.h"

enum diff_of { DIFF_NOW, DIFF_FORK_POINT, DIFF_TEMPLATE };

enum diff_form { DIFF_LIST, DIFF_JSON, DIFF_PATCH };

struct diff_order {
	enum diff_of from_of, to_of;
	struct sandbox *from, *to;
	enum diff_form form;
	const char *paths; /* lines, to which it is restricted; or NULL */
};

struct diff;

/** diff_fn - the @text is the receiver's to free; or it is NULL, and @err says why. */
typedef void diff_fn(void *ctx, char *text, size_t len, const struct error *err);

/**
 * diff_begin() - make it.
 * @done: called once, later or before this returns.
 * Return: what diff_cancel() takes until @done was called; NULL when it was already.
 */
struct diff *diff_begin(const struct diff_order *order, diff_fn *done, void *ctx);

/** diff_cancel() - nobody wants to know any more: @done is not called. */
void diff_cancel(struct diff *diff);
