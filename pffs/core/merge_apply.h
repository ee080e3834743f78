/*
 * Putting the results of a merge into the guest's files.
 *
 * Theory of operation: a list of changes becomes a list of steps, each one request to the
 * guest, or a copy. First everything new is made in a directory of its own; a failure up
 * to there removes that again, and nothing else has changed. Then what goes is removed,
 * from the innermost outwards, and what comes is renamed into place. From there on it is
 * not undone.
 */
#pragma once

#include "pffs/core/merge3.h"
#include "pffs/core/sandbox.h"

/* What becomes of one path. */
struct change {
	char *path;
	struct tree_state before, after; /* mode 0: nothing; after.target is owned */
	bool content;			 /* it has another one than before */
	struct sandbox *source;		 /* reference; has the content at @path */
	struct buf bytes;		 /* or this is it, when there is no source */
};

struct changes {
	struct change *list; /* in the order of paths of a tree */
	size_t count;
};

/** changes_find() - the change of @path, or NULL. */
struct change *changes_find(const struct changes *changes, const char *path);

/** changes_add() - one more; what @path had before is replaced. Return: 0 or -ENOMEM. */
int changes_add(struct changes *changes, const struct merge3_item *item,
		struct sandbox *source);

/** changes_tree() - @tree as it is after @changes, into @to. Return: 0 or -ENOMEM. */
int changes_tree(const struct changes *changes, const struct tree *tree, struct tree *to,
		 struct error *err);

void changes_fini(struct changes *changes);

struct apply;
typedef void apply_fn(void *ctx, const struct error *err);

/**
 * apply_begin() - change the files of @sb, whose tree is @ours.
 * @done: called once, later or before this returns.
 */
void apply_begin(struct sandbox *sb, const struct changes *changes, const struct tree *ours,
		 apply_fn *done, void *ctx);
