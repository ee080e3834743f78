/*
 * Rules of nftables, as text, that come into force together or not at all.
 *
 * Theory of operation: what is to change is written in nft's own language into a buffer,
 * and put into force as one transaction of the kernel, in the network namespace that the
 * thread was in at ruleset_open(). The kernel takes one message of a transaction, whose
 * size net.core.wmem_max bounds (to 416 KiB, where nobody has set it), so who writes much
 * says where it may be cut. Nothing of a guest's ever gets into the text but numbers and
 * addresses that were parsed before.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct nft_ctx;

struct ruleset {
	struct nft_ctx *nft;
	FILE *text; /* what is to come into force */
	char *bytes;
	size_t len;
	struct error failed; /* what the kernel said of a piece, or its code is 0 */
};

/** ruleset_open() - of the thread's namespace. Return: 0 or -errno with @err. */
int ruleset_open(struct ruleset *ruleset, struct error *err);

/** ruleset_close() - no-op when it is not open. The rules in force stay. */
void ruleset_close(struct ruleset *ruleset);

#define cleanup_ruleset __attribute__((cleanup(ruleset_close)))

/** ruleset_add() - add to what is to change, printf-like. */
__attribute__((format(printf, 2, 3))) void ruleset_add(struct ruleset *ruleset,
						       const char *fmt, ...);

/**
 * ruleset_split() - what was added until now may come into force before what follows does;
 * if it is much, it does so now. When it is refused, the next ruleset_commit() says so.
 */
void ruleset_split(struct ruleset *ruleset);

/** ruleset_pending() - whether something is to change. */
bool ruleset_pending(const struct ruleset *ruleset);

/**
 * ruleset_commit() - put all of it into force. It is forgotten in any case.
 * Return: 0, or -errno with @err, which has nft's own words; then nothing has changed.
 */
int ruleset_commit(struct ruleset *ruleset, struct error *err);
