/*
 * What a sandbox uses of its host.
 *
 * Theory of operation: vmctl is asked, and asks the process of the VM. That takes it some
 * work, so that an answer serves everybody for USAGE_FRESH_MS, and one question is on
 * its way at a time. A process that does not answer keeps nobody: after USAGE_PATIENCE_MS
 * who asks is told what was known last.
 */
#pragma once

#include "pffs/core/sandbox.h"

#define USAGE_FRESH_MS	  100u
#define USAGE_PATIENCE_MS 1000u

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

/** usage_known() - the newest answer. Return: whether there is one, or no machine. */
bool usage_known(const struct sandbox *sb, struct usage *usage);

/** usage_free() - the sandbox goes. */
void usage_free(struct sandbox *sb);
