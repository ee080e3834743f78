/*
 * What the networks of all sandboxes have in common: what vmctl is told of the host, and
 * which uplink it has.
 */
#pragma once

#include "pffs/core/net/ca.h"
#include "util/error.h"
#include "wire/policy.h"

#include <jansson.h>

#define NET_DNS_MAX 8 /* resolvers that can be given */

struct core;

struct net_options {
	const char *dns[NET_DNS_MAX + 1]; /* addresses, borrowed; the last one NULL */
};

struct net_host {
	struct policy *fallback; /* of what has no other: the default of the mount */
	struct ca ca;
	struct policy *off; /* of what nobody sees */
	char uplink[16];    /* "kernel", "user", "none"; empty: vmctl knows no networks */
	char why[256];	    /* a sentence, or empty */
};

/** net_host_init() - Return: 0 or -ENOMEM with @err filled. */
int net_host_init(struct core *core, struct error *err);
void net_host_fini(struct core *core);

/** net_host_add_dns() - take a resolver that was given as an option. Return: 0, or -EINVAL
 * with @err filled. */
int net_host_add_dns(struct net_options *options, const char *address, struct error *err);

/** net_uplink() - its name; "none" where vmctl knows no networks. */
const char *net_uplink(const struct core *core);

/** net_host_greet() - tell a vmctl what it has to know before anything else. */
void net_host_greet(struct core *core);

/** net_host_heard() - what vmctl says of itself: in the reply to `stat`, and when it
 * changes. */
void net_host_heard(struct core *core, const json_t *said);
