/*
 * The hub: the network namespace in which all slots meet the policy, and the way out.
 *
 * Theory of operation
 *
 * Each slot's link ends here, at sN; the link `up` leads to the world. What a slot sends
 * has the slot's address, since the slot's NAT sees to that, and any connection is its that
 * began with that address: so rules ask conntrack for the original direction, and are right
 * for either one.
 *
 * The map `slots4` (and `slots6`) leads from a slot's address to the chain of its policy
 * (policy_rules.h), which is what decides. A connection that a policy let through carries
 * that policy's number as its mark; one with another number is asked about again, at its
 * next packet in either direction. That is how a change reaches connections that are open,
 * at once, without anybody looking for them.
 *
 * Sets: `never` is closed for good, `closed` unless a policy has a range that covers it,
 * `open` what names were resolved to, for a slot, until a time; `keep` what they were
 * resolved to before the policy changed. There are three of each: for all ports, for single
 * ones, and for ranges. The kernel takes milliseconds to delete a range (nft_set_pipapo),
 * and no time for the others, so only what has to be one is.
 *
 * Every decision about a new connection is logged to NFLOG group HUB_LOG_GROUP with a
 * prefix of one letter, at most HUB_LOG_RATE a second and slot; of what is beyond one of
 * HUB_LOG_SAMPLE.
 */
#pragma once

#include "util/error.h"
#include "vmctl/net/rt.h"
#include "vmctl/net/ruleset.h"

#define HUB_LOG_GROUP  1
#define HUB_LOG_RATE   100
#define HUB_LOG_BURST  400
#define HUB_LOG_SAMPLE 100

/* Prefixes of what is logged. */
#define HUB_ALLOW     'A'
#define HUB_NEVER     'N'
#define HUB_CLOSED    'C'
#define HUB_NOT_ALLOW 'L'
#define HUB_OFF	      'O'
#define HUB_LOST      'X' /* one of HUB_LOG_SAMPLE that are not told */

struct hub {
	int netns;
	struct rt rt;
	struct ruleset rules;
	int dns_udp, dns_tcp,
	    proxy_tcp; /* sockets bound in it, until they are given away */
};

/**
 * hub_open() - furnish the namespace that the thread is in, which is new.
 * Return: 0 or -errno with @err.
 */
int hub_open(struct hub *hub, struct error *err);

/** hub_close() - let go of it. */
void hub_close(struct hub *hub);

/** hub_never() - add addresses, or ranges, that are closed for good; @six: of IPv6. The
 * caller commits. */
void hub_never(struct hub *hub, const char *range, bool six);
