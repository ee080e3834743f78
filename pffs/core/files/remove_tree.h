/*
 * Removal of files of a guest, also of directories with all that is in them.
 *
 * Theory of operation: as `rm -r`, depth first; nothing is kept but the path of where it
 * is, so that no directory is too large. A directory is listed again after its files have
 * gone, until there is nothing in it.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct remove_tree;

/** remove_tree_fn - it is gone, or @err says why not. */
typedef void remove_tree_fn(void *ctx, const struct error *err);

/**
 * remove_tree_begin() - remove @path, as wire/files.h has it; a link itself.
 * @is_dir:    it is a directory.
 * @recursive: with all that is in it.
 * @done:      called once, later.
 * Return: what remove_tree_cancel() takes until then, or NULL without memory.
 */
struct remove_tree *remove_tree_begin(struct sandbox *sb, const char *path, bool is_dir,
				      bool recursive, remove_tree_fn *done, void *ctx);

/** remove_tree_cancel() - leave what has not gone. */
void remove_tree_cancel(struct remove_tree *tree);
