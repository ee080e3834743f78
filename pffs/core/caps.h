/*
 * What all sandboxes together may take of the host: how many there are, and their memory.
 *
 * Theory of operation: a sandbox counts while it has a machine, or is to have one: not when
 * it is frozen, or on its way there, and not when it is dead. Its memory counts as
 * config/memory_mib says, whatever it uses. Who wants more asks caps_admit() first. With
 * the policy `freeze` that makes room by freezing what has been idle for the longest time;
 * nobody waits for it, so for the time that takes there is one more than there should be.
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
 * caps_admit() - may there be @count sandboxes, and @memory_mib, more?
 * @keep: is not frozen for it; or NULL.
 *
 * Return: 0, -ENOSPC (too many sandboxes) or -ENOMEM (too much memory) with @err filled;
 * nothing has changed then.
 */
int caps_admit(struct core *core, unsigned count, uint64_t memory_mib,
	       const struct sandbox *keep, struct error *err);
