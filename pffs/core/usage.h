/*
 * What a sandbox uses of its host.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct usage {
	uint64_t cpu_usec;	 /* of its VM's process, since it began */
	uint64_t memory_private; /* bytes of RAM that nobody shares with it */
	uint64_t memory_shared;	 /* its share of what it has in common with others */
	uint64_t disk_bytes;	 /* see docs/protocols.md */
};

typedef void usage_fn(void *ctx, const struct usage *usage, const struct error *err);

/**
 * usage_ask() - ask for what @sb uses.
 * @fn: called once, maybe before this returns: with the usage, all 0 without a machine,
 *      or with NULL and the error.
 */
void usage_ask(struct sandbox *sb, usage_fn *fn, void *ctx);
