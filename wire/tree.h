/*
 * Trees: what the files of a sandbox are, as far as they are not its template's.
 *
 * Theory of operation
 *
 * The root of a guest is an overlay over its template's image. The guest says what its
 * upper layer comes to, in entries that need no knowledge of overlays: a path, what is
 * there now, and what the image has there; either may be nothing. Where a directory of
 * the image was removed or replaced, all that it held has entries, too. A path without
 * an entry is as the image has it. A directory that is in both has an entry only when
 * its mode or its owner changed.
 *
 * Encoded, entries stand one behind the other in any order. A tree has them sorted by
 * path, a directory before what is in it and that before its next sibling, and points
 * into the encoded bytes. So two trees over the same image are compared by one pass over
 * both: tree_pair_next().
 *
 * The guest is hostile: an entry may say anything, but its path is one, it is there
 * once, and its type is a file's.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_MAX	 (1u << 30) /* bytes of an encoded tree */
#define TREE_ENTRIES_MAX 500000u

/* A file, as lstat(2) has it. */
struct tree_state {
	uint32_t mode; /* with the type; 0: there is nothing */
	uint32_t nlink, uid, gid, rdev;
	uint64_t ino, size;
	int64_t mtime_ns, ctime_ns;
	const char *target; /* of a symbolic link, else NULL */
};

struct tree_entry {
	const char *path;
	struct tree_state now, below;
};

struct tree {
	struct buf bytes; /* what the entries point into */
	struct tree_entry *entries;
	size_t count;
};

/** tree_put() - append one entry to @out. Return: 0 or -ENOMEM. */
int tree_put(struct buf *out, const struct tree_entry *entry);

/**
 * tree_parse() - a tree of its encoded bytes.
 * @bytes: taken over; empty afterwards, also on an error.
 * Return: 0, -ENOMEM, -EFBIG too many entries, or -EPROTO, with @err filled; @tree is then
 * empty.
 */
int tree_parse(struct tree *tree, struct buf *bytes, struct error *err);

/** tree_fini() - free it; it is empty then. */
void tree_fini(struct tree *tree);

/** tree_find() - the entry of a path, or NULL. */
const struct tree_entry *tree_find(const struct tree *tree, const char *path);

/** tree_path_compare() - the order of paths in a tree: like strcmp(3). */
int tree_path_compare(const char *a, const char *b);

/** tree_path_is_below() - is @path @top, or below that? "" is the root. */
bool tree_path_is_below(const char *path, const char *top);

/* One path in two trees over the same image. */
struct tree_pair {
	const char *path;
	const struct tree_state *from, *to;
	bool from_image, to_image; /* that side is as the image has it */
};

struct tree_pairs {
	const struct tree *from, *to;
	size_t i, j;
};

/**
 * tree_pair_next() - the next path that has an entry in one of two trees, in order.
 * Return: false when there is none left.
 */
bool tree_pair_next(struct tree_pairs *pairs, struct tree_pair *pair);
