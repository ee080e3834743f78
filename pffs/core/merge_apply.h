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

#include "pffs/core/merge_changes.h"

struct apply;
typedef void apply_fn(void *ctx, const struct error *err);

/**
 * apply_begin() - change the files of @sb, whose tree is @ours.
 * @done: called once, later or before this returns.
 */
void apply_begin(struct sandbox *sb, const struct changes *changes, const struct tree *ours,
		 apply_fn *done, void *ctx);
