/*
 * All bytes of a guest's file, or of its tree of changes, in one buffer.
 */
#pragma once

#include "pffs/core/sandbox.h"
#include "util/buf.h"
#include "wire/tree.h"

struct fetch;

/** fetch_fn - @bytes is the receiver's to take, or NULL and @err says why. */
typedef void fetch_fn(void *ctx, struct buf *bytes, const struct error *err);

/** fetch_tree_fn - likewise. */
typedef void fetch_tree_fn(void *ctx, struct tree *tree, const struct error *err);

/**
 * fetch_file() - read the file @path of @sb.
 * @limit: EFBIG when it has more bytes.
 * @done:  called once, later or before this returns.
 * Return: what fetch_cancel() takes until @done was called; NULL when it was already.
 */
struct fetch *fetch_file(struct sandbox *sb, const char *path, uint64_t limit,
			 fetch_fn *done, void *ctx);

/** fetch_part() - likewise at most @size bytes from @offset on; less only at the end. */
struct fetch *fetch_part(struct sandbox *sb, const char *path, uint64_t offset,
			 uint64_t size, fetch_fn *done, void *ctx);

/**
 * fetch_tree() - how the files of @sb differ from its image's. @done as above.
 * @picks: of all these (wire/picks.h), encoded; NULL: all.
 */
struct fetch *fetch_tree(struct sandbox *sb, const struct buf *picks, fetch_tree_fn *done,
			 void *ctx);

/** fetch_image() - likewise all files of the image of @sb. */
struct fetch *fetch_image(struct sandbox *sb, fetch_tree_fn *done, void *ctx);

/** fetch_cancel() - nobody wants to know any more: @done is not called. */
void fetch_cancel(struct fetch *fetch);
