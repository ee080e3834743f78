/*
 * What a merge of files comes to: the changes of all forks, one for each path.
 */
#pragma once

#include "pffs/core/merge/merge3.h"
#include "pffs/core/sandbox.h"

/* What becomes of one path. */
struct change {
	char *path;
	struct tree_state before, after; /* mode 0: nothing; after.target is owned */
	bool content;			 /* it has another one than before */
	struct sandbox *source;		 /* reference; has the content at @path */
	struct buf bytes;		 /* or this is it, when there is no source */
	bool in_the_way; /* of something of another kind; see merge_plan.h */
	bool stays;	 /* it was to go, and did not */
};

struct changes {
	struct change *list; /* in the order of paths of a tree */
	size_t count;
};

/** changes_find() - the change of @path, or NULL. */
struct change *changes_find(const struct changes *changes, const char *path);

/**
 * changes_add() - those of one more fork, @source; what was to become of the same paths
 * is replaced. Texts that were merged are taken over.
 * Return: 0 or -ENOMEM.
 */
int changes_add(struct changes *changes, struct merge3 *merge, struct sandbox *source);

/** changes_tree() - @tree as it is after @changes, into @to. Return: 0 or -ENOMEM. */
int changes_tree(const struct changes *changes, const struct tree *tree, struct tree *to,
		 struct error *err);

void changes_fini(struct changes *changes);
