/*
 * Resuming a sandbox and forks of it, before something that takes the machines of all.
 *
 * Theory of operation: who is frozen, or being frozen, is looked at again and again until
 * none of them is. Each may be resumed twice, so that what cannot be resumed does not keep
 * anybody: freezing and resuming come to an end by themselves.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct rouse {
	struct sandbox *sb; /* reference */
	char *const *forks;
	size_t count;
	size_t resumed; /* how often one of them was */
	struct loop_timer timer;
	void (*done)(struct rouse *rouse);
};

/**
 * rouse_begin() - resume @sb and its forks of these names.
 * @forks: borrowed until the end; names that no fork has are passed over.
 * @done:  called once, later or before this returns: nobody is frozen, or cannot be
 *         resumed, which is for what comes then to refuse. @rouse is the caller's again.
 */
void rouse_begin(struct rouse *rouse, struct sandbox *sb, char *const *forks, size_t count,
		 void (*done)(struct rouse *rouse));

/** rouse_cancel() - @done is not called; no-op when it was, or nothing was begun. */
void rouse_cancel(struct rouse *rouse);
