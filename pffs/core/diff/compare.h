/*
 * Two trees of files, and what is different between them.
 *
 * Theory of operation: of most paths the trees tell by themselves. Regular files of one
 * size that are not untouched for certain (pffs/core/diff/same.h) are SUSPECTED: only their
 * contents can tell.
 *
 * Types, modes, owners, the targets of links and contents count; times do not.
 */
#pragma once

#include "wire/tree.h"

#include <stdio.h>

enum difference {
	ADDED,	  /* in @to alone */
	REMOVED,  /* in @from alone */
	MODIFIED, /* in both, not the same */
	SUSPECTED,
	EQUAL, /* it was suspected */
};

struct compared {
	enum difference is;
	struct tree_pair pair; /* points into the trees */
	char *piece;	       /* of a patch, or NULL */
	size_t piece_len;
};

struct comparison {
	struct compared *list; /* by path */
	size_t count;
};

/** @paths: one on each line, with or without a slash in front; NULL or empty: all. */
int compare_trees(const struct tree *from, const struct tree *to, const char *paths,
		  struct comparison *result);

/** compare_whole() - make @tree, over the image @image, one that needs no image.
 * Return: 0 or -ENOMEM. Files of the image have inode number 0 in it. */
int compare_whole(struct tree *tree, const struct tree *image);

/** comparison_list() - print a line for each path: A, D or M and the path, quoted. */
void comparison_list(const struct comparison *result, FILE *out);

/** comparison_json() - print {"added": [...], "removed": [...], "modified": [...]}. */
void comparison_json(const struct comparison *result, FILE *out);

/** comparison_patch() - print the pieces, which are gone then. Files that go come first, so
 * that a file can come where a directory was. */
void comparison_patch(struct comparison *result, FILE *out);

void comparison_fini(struct comparison *result);
