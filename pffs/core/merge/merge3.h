/*
 * Three-way merges of files: what two sides made of a common base.
 *
 * Theory of operation: of three trees (wire/tree.h) over one image there is an item for
 * each path of which theirs may differ from the base. What can be told by the trees is
 * decided at once. For the rest the contents of some sides are wanted; when they are
 * there, or are too large, merge3_decide() settles it. What only one side changed is
 * taken from that side; what both changed alike is left; of a regular file, content,
 * mode and owner are merged apart, the content, if it is text, by libgit2. Whatever
 * else both changed is a conflict, which a favour for one side resolves.
 */
#pragma once

#include "wire/tree.h"

enum merge3_side { MERGE3_BASE, MERGE3_OURS, MERGE3_THEIRS, MERGE3_SIDES };

enum merge3_favour { MERGE3_FAVOUR_NONE, MERGE3_FAVOUR_OURS, MERGE3_FAVOUR_THEIRS };

enum merge3_verdict {
	MERGE3_WANTS,	 /* contents, see @wanted */
	MERGE3_KEEP,	 /* ours stays */
	MERGE3_TAKE,	 /* @result, with theirs' content */
	MERGE3_ATTR,	 /* @result, with ours' content */
	MERGE3_MERGED,	 /* @result, with @merged as its content */
	MERGE3_CONFLICT, /* @conflict says why */
};

struct merge3_item {
	const char *path;
	struct tree_state state[MERGE3_SIDES]; /* mode 0: there is nothing */
	enum merge3_verdict verdict;
	unsigned wanted;		  /* bits: sides whose contents are wanted */
	unsigned have;			  /* bits: sides whose @content is there */
	struct buf content[MERGE3_SIDES]; /* the caller's to fill */
	unsigned digested;		  /* bits: sides of which there is a @digest */
	uint64_t digest[MERGE3_SIDES];	  /* instead, of what is too large to be merged */
	struct tree_state result;	  /* mode 0: it is to go */
	struct buf merged;
	const char *conflict;
};

struct merge3 {
	enum merge3_favour favour;
	const struct tree *ours, *theirs;
	int64_t
	    doubt[MERGE3_SIDES + 1]; /* of sides x and y: [x ^ y] (pffs/core/diff/same.h) */
	struct merge3_item *items;   /* in the order of paths of a tree */
	size_t count, room;
	size_t sorted; /* of @items, while some are added */
	size_t looks;  /* for directories */
};

/**
 * merge3_begin() - the items of three trees, which stay the caller's and have to live
 * as long as @merge.
 * Return: 0 or -ENOMEM.
 */
int merge3_begin(struct merge3 *merge, const struct tree *base, const struct tree *ours,
		 const struct tree *theirs, enum merge3_favour favour);

/**
 * merge3_decide() - settle an item that wants contents; those that it has are freed.
 * Return: 0 or -ENOMEM.
 */
int merge3_decide(const struct merge3 *merge, struct merge3_item *item);

/**
 * merge3_check() - when all are settled: find what cannot be in one tree together, and
 * add directories that we removed and theirs has something for.
 * Return: 0, -ENOMEM, or -EFBIG: paths are too deep.
 */
int merge3_check(struct merge3 *merge);

/** merge3_keep(), merge3_take() - decide an item for one side, as it is there. */
void merge3_keep(struct merge3_item *item);
void merge3_take(struct merge3_item *item);

/** merge3_append() - one more item, behind the others. Return: 0 or -ENOMEM. */
int merge3_append(struct merge3 *merge, const struct merge3_item *item);

/** merge3_conflicts() - Return: how many items conflict. */
size_t merge3_conflicts(const struct merge3 *merge);

/** merge3_fini() - free all that it has. */
void merge3_fini(struct merge3 *merge);
