/*
 * Merges of files: what forks changed since they were made, brought into their parent.
 *
 * Theory of operation: for each fork in turn the trees of its fork point (twin.h), of the
 * parent and of the fork are merged (merge3.h), the parent as the forks before have left
 * it. Until all of them have been, nothing is changed; one conflict ends it all. Then
 * what is new is written into a directory in the parent's root, without a name that
 * anybody looks for; the parent's programs are stopped (hold.h), its tree is looked at
 * once more, and if it is what it was where it matters, everything is put in its place by
 * renames.
 *
 * As long as it lasts the parent and the forks take part in no other merge, are not
 * forked and become no templates. Their machines run meanwhile. What a fork writes while
 * its files are read may be merged in part, as with any copy of a file that is being
 * written.
 */
#pragma once

#include "pffs/core/merge/merge.h"
#include "pffs/core/merge/merge3.h"

struct merge_files;

/**
 * merge_files_begin() - merge the files of the forks @names of @sb.
 * @done:   called once, later or before this returns: -EBUSY conflicts, -EAGAIN the
 *          parent changed what is merged, or errors of the guests. @sb's merge_report
 *          then tells of it.
 * @handle: set to the merge, which lives until @done is called.
 *
 * Return: 0, or as merge_begin(), also -EINVAL a fork without a fork point; no @done then.
 */
int merge_files_begin(struct sandbox *sb, char *const *names, size_t count,
		      enum merge3_favour favour, merge_done_fn *done, void *ctx,
		      struct merge_files **handle, struct error *err);

/** merge_files_cancel() - nobody waits for it any more: it fails with EINTR at once, or
 * has begun to put things in their places, and goes on. */
void merge_files_cancel(struct merge_files *merge);
