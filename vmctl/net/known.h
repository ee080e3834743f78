/*
 * What a slot's guest has resolved, and what that opens.
 *
 * Theory of operation
 *
 * An address is known by the names that led to it, each until a time. In a policy of mode
 * `allow` it is open at the ports that entries give these names, as long as one of them has
 * time left: elements of the hub's sets `open` (hub.h). Nothing expires in the kernel.
 * What is asked for again only gets more time, which costs no transaction.
 *
 * A name is remembered beyond its time, as the log wants it, and as connections may last
 * longer. When the policy changes, what the new one gives to names that are remembered goes
 * into `keep`, which open nothing to a new connection, and let one go on.
 *
 * The guest chooses names, and their owners the addresses, so all is bounded: pairs of a
 * name and an address, names of an address, and elements in the kernel. The pair that was
 * asked for longest ago gives way. What an address has in the kernel is remembered with it,
 * so that just that is taken back. Addresses are found by a hash, and what a name is given
 * is looked up once, when it comes and when the policy changes.
 *
 * What is written may come into force in pieces (ruleset_split()). Who changes a policy
 * takes the slot out of the hub's map before, and puts it in afterwards.
 */
#pragma once

#include "util/list.h"
#include "vmctl/net/ruleset.h"
#include "wire/policy.h"

#include <stdbool.h>
#include <stdint.h>

#define KNOWN_MAX	   2048 /* pairs of a name and an address */
#define KNOWN_NAMES_MAX	   16	/* names of an address */
#define KNOWN_PORTS_MAX	   32	/* ranges of ports of an address; more stay shut */
#define KNOWN_ELEMENTS_MAX 4096 /* of the hub's sets */
#define KNOWN_WIDE	   16	/* more ports than these are a range to the kernel */
#define KNOWN_BUCKETS	   256

struct known_address;

struct known {
	unsigned slot;
	struct known_address *buckets[KNOWN_BUCKETS];
	struct link order;  /* names, the one that was asked for longest ago first */
	unsigned count;	    /* of names */
	unsigned elements;  /* in the hub's sets; a range counts as KNOWN_WIDE */
	uint64_t expire_ns; /* nothing ends before; CLOCK_MONOTONIC, 0: nothing is open */
	const struct policy *policy; /* in force; the owner's */
};

/** known_init() - nothing is known of @slot. */
void known_init(struct known *known, unsigned slot);

/** known_add() - @name leads to @address, a single one, for @ttl_s. The caller commits
 * @set.
 */
void known_add(struct known *known, struct ruleset *set, const struct policy_range *address,
	       const char *name, uint32_t ttl_s);

/**
 * known_expire() - close what has no time left.
 * @budget: how many elements may go now; those that do are taken off it.
 *
 * Return: when the next does, which is over when @budget was too little; or 0.
 */
uint64_t known_expire(struct known *known, struct ruleset *set, unsigned *budget);

/** known_policy() - another policy, or NULL, is in force. */
void known_policy(struct known *known, struct ruleset *set, const struct policy *policy);

/** known_name() - what was asked for and led to @address, the newest; or NULL. */
const char *known_name(const struct known *known, const struct policy_range *address);

/** known_fini() - close and forget all. */
void known_fini(struct known *known, struct ruleset *set);
