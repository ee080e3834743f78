/*
 * How long a sandbox may be idle, and how long it may live.
 *
 * Theory of operation: a sandbox is in use while a run of it has not ended, a file of it
 * is open that counts (limits_open()), its guest is asked for files, it has forks or takes
 * part in a merge, and while its machine does not answer yet, or is frozen. Whatever ends
 * such a use calls limits_used(), which only notes the time. So the timer of an idle
 * sandbox is set once in idle_timeout, however much the sandbox is used: when it fires, it
 * looks whether there was a use since, and when it has to look again.
 *
 * What has met a limit goes as by rmdir. One that has forks waits until they have gone.
 * One that is persistent is frozen instead when it was idle for too long.
 */
#pragma once

#include "util/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_MAX_S 31536000.0 /* one year */

struct core;
struct sandbox;

struct limits {
	uint64_t idle_ms, life_ms; /* 0: none */
	uint64_t born_ns, used_ns; /* CLOCK_MONOTONIC; the end of the newest use */
	unsigned open;		   /* files that count */
	bool seen;		   /* it is in the world: the limits hold */
	bool over;		   /* its life is: it waits until its forks have gone */
	bool persistent;
	struct loop_timer idle, life;
};

/** limits_init() - of a new sandbox: none. */
void limits_init(struct sandbox *sb);

/** limits_inherit() - a fork gets those of its parent. */
void limits_inherit(struct sandbox *sb, const struct sandbox *parent);

/** limits_begin() - @sb is seen by the world: from now on its limits hold. */
void limits_begin(struct sandbox *sb);

/**
 * limits_restore() - a sandbox that an earlier pffs made, by sb->created, is seen by the
 * world with these limits.
 */
void limits_restore(struct sandbox *sb, uint64_t idle_ms, uint64_t life_ms,
		    bool persistent);

/** limits_in_use() - something goes on in @sb, or somebody uses it: it is not idle. */
bool limits_in_use(const struct sandbox *sb);

/** limits_end() - it goes, or nobody sees it any more: they hold no longer. */
void limits_end(struct sandbox *sb);

/** limits_set_idle(), limits_set_life() - 0 for none. To set the former is a use. */
void limits_set_idle(struct sandbox *sb, uint64_t ms);
void limits_set_life(struct sandbox *sb, uint64_t ms);

/** limits_set_persistent() - frozen, not removed, when it is idle. */
void limits_set_persistent(struct sandbox *sb, bool persistent);

/** limits_used() - a use of @sb has ended. */
void limits_used(struct sandbox *sb);

/** limits_open(), limits_close() - a file of @sb that counts as a use while it is open. */
void limits_open(struct sandbox *sb);
void limits_close(struct sandbox *sb);

/** limits_fork_gone() - a sandbox has left the folder with that key. */
void limits_fork_gone(struct core *core, uint64_t folder);

/** limits_idle_left(), limits_life_left() - milliseconds; only where there is a limit. */
uint64_t limits_idle_left(const struct sandbox *sb);
uint64_t limits_life_left(const struct sandbox *sb);
