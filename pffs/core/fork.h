/*
 * Forks: how sandboxes come to be.
 *
 * Theory of operation: a fork makes one child or many of one parent, with one pause.
 * Forks of one parent are made one after the other, each when its machine is ready,
 * or stands still, and all that was queued for the guest has gone, so that the guest
 * is between frames. vmctl's reply stands in the link's stream at the place where
 * parent and children part (docs/fork.md), so a child's record is the parent's at
 * that moment: the run that goes on, the runs that wait, and the first part of a
 * frame. What is sent behind the request is the parent's alone; so until the reply no
 * run begins and no stdin is fed, or a child's record would have what its guest never
 * saw. The fork is done when the agent of every child says that it has become
 * another machine; when one does not, none of them stays.
 *
 * Of a template whose machine still boots, or when room for them is still being made
 * (caps.h), the children are in the world at once, and wait for it. What cannot be made
 * then is dead, and not away.
 */
#pragma once

#include "pffs/core/sandbox.h"

#define FORK_MAX 1000 /* children of one fork */

/** fork_done_fn - tells of the children, or of the @err that left none. */
typedef void fork_done_fn(void *ctx, struct sandbox *const *children,
			  const struct error *err);

struct fork_order {
	folder_t folder;	  /* where the children's names belong */
	const char *const *names; /* NULL: numbers that were not used yet */
	size_t count;		  /* 1 to FORK_MAX */
	uid_t uid;
	gid_t gid;
	bool early; /* the children are in the world before they are made */
	struct fork *
	    *handle; /* set to the fork, which lives until @done is called; or NULL */
};

/**
 * fork_begin() - fork a sandbox.
 * @done: called once, later or before this returns; NULL when nobody wants to know.
 *
 * Return: 0, or -EINVAL, -EEXIST, -EIO (dead), -EAGAIN (it is being merged), -ENOMEM
 * with @err; no @done then.
 */
int fork_begin(struct sandbox *parent, const struct fork_order *order, fork_done_fn *done,
	       void *ctx, struct error *err);

/**
 * fork_again() - make the machine of @child, which is in the world and waits for it since
 * a former pffs. Return: 0, or -errno with @err filled.
 */
int fork_again(struct sandbox *parent, struct sandbox *child, struct error *err);

/** fork_cancel() - nobody waits for it any more: it fails with EINTR. */
void fork_cancel(struct fork *fork);

/** fork_in_flight() - vmctl has been asked for a fork of @parent, and has not answered. */
bool fork_in_flight(const struct sandbox *parent);

/** fork_waits() - a fork of @parent waits for what was sent to it to be taken, and for
 * nothing else. */
bool fork_waits(const struct sandbox *parent);

/** fork_next() - make the next fork of @parent if it can be made now. */
void fork_next(struct sandbox *parent);

/** fork_settled() - @child has woken, died or gone: tell who waits for it. */
void fork_settled(struct sandbox *child);

/** fork_overdue() - @child, which is being made, did not wake in time: it dies, and a
 * template's machine none of whose forks ever woke ends, so that it boots anew. */
void fork_overdue(struct sandbox *child);

/** fork_parent_ended() - the forks that wait cannot be made any more. */
void fork_parent_ended(struct sandbox *parent, const char *reason);
