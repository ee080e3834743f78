/*
 * Patches as `git diff` makes them, for `patch -p1` and `git apply`.
 */
#pragma once

#include "wire/tree.h"

#include <stdio.h>

#define PATCH_FILE_MAX (16u << 20) /* of a larger file a patch has no contents */

/* To find out what two files have in common takes time that grows with the square of
 * their lines when a guest wants it to, and the mount waits. So of a file that has more
 * than this all lines go and all lines come, and likewise of those that come when the
 * budget of the patch is spent. */
#define PATCH_DIFF_MAX	 (2u << 20) /* bytes */
#define PATCH_DIFF_LINES 20000u

/* What may still be compared for a patch; of both sides. */
struct patch_budget {
	size_t bytes, lines;
};

/* Of one patch. */
static const struct patch_budget patch_budget = {128u << 20, 1000000};

/* What a file of a patch holds; of a symbolic link, its target. */
struct patch_content {
	const void *data;
	size_t len;
};

/** patch_needs() - are the contents of a file part of a patch: is it a regular one? */
bool patch_needs(const struct tree_state *state);

/** patch_is_too_large() - is there a file that has no place in a patch? */
bool patch_is_too_large(const struct tree_pair *pair);

/** patch_print_too_large() - print that it differs, as for binary files without contents.
 */
void patch_print_too_large(FILE *out, const struct tree_pair *pair);

/**
 * patch_print() - print what turns @from into @to. Contents are text also where they are
 * binary, which both programs apply byte by byte. Directories, devices, FIFOs and sockets
 * have no place in a patch, nor have owners and the bits above 0777.
 * @budget: what is compared is taken from it.
 *
 * Return: 0 or -ENOMEM.
 */
int patch_print(FILE *out, const struct tree_pair *pair, const struct patch_content *from,
		const struct patch_content *to, struct patch_budget *budget);
