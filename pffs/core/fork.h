/*
 * Forks of sandboxes.
 *
 * Theory of operation: forks of one sandbox are made one after the other, each
 * when its machine is ready and all that was queued for the guest has gone, so
 * that the guest is between frames. vmctl's reply stands in the link's stream at
 * the place where parent and child part (docs/fork.md), so the child's record is
 * the parent's at that moment: the run that goes on, and the first part of a frame.
 * What is sent behind the request is the parent's alone; so until the reply no run
 * begins and no stdin is fed, or the child's record would have what its guest never saw.
 * The fork is done when the child's agent says that it has become another machine.
 */
#pragma once

#include "pffs/core/sandbox.h"

typedef void fork_done_fn(void *ctx, struct sandbox *child, const struct error *err);

/**
 * fork_begin() - fork a sandbox.
 * @name: the child's, in @parent's forks/.
 * @done: called once, later: with the child, or with NULL and @err.
 *
 * Return: 0, or -EINVAL, -EEXIST, -EIO (dead), -ENOMEM with @err; no @done then.
 */
int fork_begin(struct sandbox *parent, const char *name, uid_t uid, gid_t gid,
	       fork_done_fn *done, void *ctx, struct error *err);

/** fork_in_flight() - vmctl has been asked for a fork of @parent, and has not answered. */
bool fork_in_flight(const struct sandbox *parent);

/** fork_next() - make the next fork of @parent if it can be made now. */
void fork_next(struct sandbox *parent);

/** fork_settled() - @child has woken or died: tell who waits for it. */
void fork_settled(struct sandbox *child);

/** fork_parent_ended() - the forks that wait cannot be made any more. */
void fork_parent_ended(struct sandbox *parent, const char *reason);
