/*
 * What all sandboxes together may take of the host: how many there are, and their memory.
 *
 * Theory of operation: a sandbox counts while it has a machine, or is to have one: not when
 * it is frozen, or on its way there, and not when it is dead. Its memory counts as
 * config/memory_mib says, whatever it uses. Who wants more asks caps_admit() first. With
 * the policy `freeze` that makes room by freezing what has been idle for the longest time.
 * Its machine has the room until it is on the disk: what was admitted counts from then on,
 * but gets a machine when caps_full() says no more. Who makes it does not wait for that.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

struct core;
struct sandbox;

struct caps {
	unsigned sandboxes;  /* at most; 0: any number */
	unsigned memory_mib; /* likewise, of all of them */
	bool freeze;	     /* make room */
};

/** caps_count() - does @sb count? */
bool caps_count(const struct sandbox *sb);

/** caps_memory_mib() - of all sandboxes that count. */
uint64_t caps_memory_mib(const struct core *core);

/**
 * caps_full() - are there too many machines, until one that is being frozen has gone?
 * @count, @memory_mib: of sandboxes that do not count yet.
 */
bool caps_full(const struct core *core, unsigned count, uint64_t memory_mib);

/** caps_init() - nobody waits. */
void caps_init(struct core *core);

/** caps_changed() - a machine has gone, or is frozen no more: who waits looks again soon.
 */
void caps_changed(struct core *core);

/**
 * caps_admit() - may there be @count sandboxes, and @memory_mib, more?
 * @keep: is not frozen for it; or NULL.
 *
 * Return: 0, -ENOSPC (too many sandboxes) or -ENOMEM (too much memory) with @err filled;
 * nothing has changed then.
 */
int caps_admit(struct core *core, unsigned count, uint64_t memory_mib,
	       const struct sandbox *keep, struct error *err);
