/*
 * Merges: what became of a fork comes back to its parent.
 *
 * Theory of operation: a merge of the whole state gives a fork's machine, the winner's,
 * to the sandbox that it is a fork of. The machine is told first who it will be, by WAKE;
 * when its agent says AWAKE it changes hands, all at once: the sandbox keeps its name, id,
 * records and whatever is open of it, and the winner goes. Until then nothing has changed
 * but what the winner's guest calls itself, and that is taken back when the merge fails.
 * While a merge is under way neither of the two is forked, merged or made a template.
 */
#pragma once

#include "pffs/core/sandbox.h"

/** merge_done_fn - a merge has come to its end, well or with @err. */
typedef void merge_done_fn(void *ctx, const struct error *err);

/**
 * merge_begin() - make the fork @name of @sb be @sb.
 * @done:   called once, later or before this returns.
 * @handle: set to the merge, which lives until @done is called.
 *
 * A run that goes on in @sb ends, killed; those that wait stay. What goes on or waits in
 * the winner becomes runs of @sb with the next numbers; the winner's forks become @sb's.
 *
 * Return: 0, or -ENOENT no such fork, -EINVAL something else has that name, -EIO the
 * winner is dead, -EAGAIN one of them starts or is being forked or merged, -EEXIST both
 * have a fork of the same name, -ENOMEM, with @err filled; no @done then.
 */
int merge_begin(struct sandbox *sb, const char *name, merge_done_fn *done, void *ctx,
		struct merge **handle, struct error *err);

/**
 * merge_find_fork() - the fork of @sb that may be merged by that name.
 * Return: it, or NULL with @err filled: -ENOENT or -EINVAL, as merge_begin().
 */
struct sandbox *merge_find_fork(struct sandbox *sb, const char *name, struct error *err);

/** merge_check_idle() - nobody is about to copy, park, merge or give away its machine.
 * Return: 0, or -EAGAIN with @err filled. */
int merge_check_idle(const struct sandbox *sb, struct error *err);

/** merge_cancel() - nobody waits for it any more: it fails with EINTR. */
void merge_cancel(struct merge *merge);

/** merge_awake() - the machine of @winner has become what it was told to be. */
void merge_awake(struct sandbox *winner);

/** merge_holds_files() - @sb is about to be another one: its calls wait. */
bool merge_holds_files(const struct sandbox *sb);

/** merge_files_rest() - calls of @sb were answered, perhaps all that a merge waits for. */
void merge_files_rest(struct sandbox *sb);

/** merge_ended() - @sb has died or gone: it merges no more. */
void merge_ended(struct sandbox *sb);
