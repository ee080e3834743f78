/*
 * Patches as `git diff` makes them, for `patch -p1` and `git apply`.
 */
#pragma once

#include "wire/tree.h"

#include <stdio.h>

/* A file larger than this is replaced as a whole: to find out what is common would take
 * too long. */
#define PATCH_DIFF_MAX (4u << 20)

/* What a file of a patch holds; of a symbolic link, its target. */
struct patch_content {
	const void *data;
	size_t len;
};

/** patch_needs() - are the contents of a file part of a patch: is it a regular one? */
bool patch_needs(const struct tree_state *state);

/**
 * patch_print() - print what turns @from into @to. Contents are text also where they are
 * binary, which both programs apply byte by byte. Directories, devices, FIFOs and sockets
 * have no place in a patch, nor have owners and the bits above 0777.
 *
 * Return: 0 or -ENOMEM.
 */
int patch_print(FILE *out, const struct tree_pair *pair, const struct patch_content *from,
		const struct patch_content *to);
