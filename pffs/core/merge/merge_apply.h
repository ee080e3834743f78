/*
 * Putting the results of a merge into the guest's files.
 *
 * Theory of operation: a list of changes becomes a list of steps (merge_plan.h), each one
 * request to the guest, or a copy. When a step fails, those before it are taken back,
 * unless it is one of the last, by which things go. Until the parent has been looked at
 * it can be cancelled, also while a guest does not answer: who waits is told at once, and
 * what was staged is removed when that guest has answered.
 */
#pragma once

#include "pffs/core/merge/merge_changes.h"

struct apply;

/**
 * apply_fn - it has come to its end, well or with @err.
 * @part: it failed when some had gone: of the changes those are done that do not stay.
 */
typedef void apply_fn(void *ctx, const struct error *err, bool part);

/**
 * apply_begin() - change the files of @sb, whose tree is @ours. @changes and @ours have
 * to live until @done is called.
 * Return: what apply_cancel() takes until then, or NULL without memory.
 */
struct apply *apply_begin(struct sandbox *sb, struct changes *changes,
			  const struct tree *ours, apply_fn *done, void *ctx);

/** apply_cancel() - Return: false when it goes on; or true, and it has called @done. */
bool apply_cancel(struct apply *apply);
