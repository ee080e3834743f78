/*
 * What the files of `vmctl net` share.
 */
#pragma once

#include "util/list.h"
#include "util/loop.h"
#include "vmctl/net/ender.h"
#include "vmctl/net/flows.h"
#include "vmctl/net/host_addresses.h"
#include "vmctl/net/hub.h"
#include "vmctl/net/known.h"
#include "vmctl/net/peer.h"
#include "vmctl/net/rules.h"
#include "vmctl/net/slot.h"
#include "vmctl/net/uplink.h"

#define NET_BUCKETS   256
#define NET_POOL      8	  /* slots that are free, at least; made ahead */
#define NET_POOL_MOST 128 /* as many, for a while, when many were taken at once */

struct slot {
	struct link link; /* on net->ordered or net->free; or, by its number, in a bucket of
			   * net->slots */
	unsigned number;
	struct slot_made made;
	struct member *member; /* who has it, or NULL */
	struct rules *rules; /* where the hub's map leads, or NULL; a member's reference */
	uint64_t ruled;	     /* net->commits when that was written */
	struct known known;
	json_t *records; /* of the log, not yet told; or NULL */
	unsigned lost;	 /* records that are not told */
};

/* A VM as far as the network knows it. */
struct member {
	struct link link; /* in net->members' bucket */
	struct link wait; /* on net->waiting while it waits for a slot */
	uint32_t vm;
	struct policy *policy;
	struct rules *rules; /* of that; or NULL, without memory: nothing passes */
	struct slot *slot;   /* or NULL */
	bool coming;	     /* it is being forked, and will take one */
};

/* An answer that is due when all is in force, and, to the broker, when both helpers can
 * read it. */
struct answer {
	struct link link;
	struct peer *to;
	json_t *message;
	struct slot *slot; /* whose tap goes along, or NULL */
};

struct net {
	struct loop loop;
	struct hub hub;
	struct uplink uplink;
	struct host_addresses host;
	struct rulebook book;
	struct flows flows;
	struct loop_source flow_source, guard_source;
	struct peer broker, dns, proxy, maker;
	struct ender ender;
	struct link members[NET_BUCKETS], slots[NET_BUCKETS];
	struct link ordered, free, waiting, answers;
	unsigned ordered_count, free_count, waiting_count, coming, free_wanted, last_slot;
	struct rules *expected; /* those that the next one to take a slot has, probably */
	uint64_t commits;	/* how often all that was written has come into force */
	uint64_t closed; /* net->commits when what is never let through was added to */
	struct loop_timer commit, make, rest, sweep, expire, tell;
	struct {
		struct loop_timer timer;
		int slots, descriptors; /* as last told */
	} census;
	json_t *network; /* what the broker said of the host, or NULL */
};

/** net_init() - nothing is there yet. @net: zeros. */
void net_init(struct net *net);

/** net_run() - make the hub, and serve the broker until it ends. @want: of uplinks. Return:
 * 0 or -errno with @err. */
int net_run(struct net *net, enum uplink_kind want, struct error *err);

/** net_member() - the VM with @id, made if @make; or NULL. */
struct member *net_member(struct net *net, uint32_t id, bool make);

/** net_slot() - the slot that is taken and has @number, or NULL. */
struct slot *net_slot(struct net *net, unsigned number);

/** net_commit_soon() - rules were written: they come into force when this turn is over. */
void net_commit_soon(struct net *net);

/** net_commit_later() - rules were written for which nobody waits: they come into force
 * with the next that somebody waits for, or some milliseconds later, when nobody has come.
 */
void net_commit_later(struct net *net);

/** net_never() - close a range for good, for all, when this turn is over. */
void net_never(struct net *net, const char *range, bool six);

/** net_answer() - @message, which is consumed, goes to @to once all is in force.
 * @slot: whose tap goes along, or NULL. */
void net_answer(struct net *net, struct peer *to, json_t *message, struct slot *slot);

/** net_say_uplink() - tell the broker of it. */
void net_say_uplink(struct net *net);

/** census_init() - nobody is told yet how many slots there are. */
void census_init(struct net *net);

/** census_tell() - tell the broker how many there are. */
void census_tell(struct net *net);

/** census_soon() - that has changed, and may change more: tell it in a moment. */
void census_soon(struct net *net);

/** pool_init() - begin to make slots. Return: 0 or -errno with @err. */
int pool_init(struct net *net, struct error *err);

/** pool_expect() - who takes a slot next has these rules, probably. */
void pool_expect(struct net *net, struct rules *rules);

/** pool_put_rules() - give a reference back, as rules_put(). */
void pool_put_rules(struct net *net, struct rules *rules);

/** pool_coming() - @member, a fork that is being made, takes one soon. */
void pool_coming(struct net *net, struct member *member);

/** pool_take() - @member gets a slot, now or when there is one. */
void pool_take(struct net *net, struct member *member);

/** pool_release() - it has none any more. */
void pool_release(struct net *net, struct member *member);

/** pool_apply() - @member has another policy and its rules; the former are there yet. */
void pool_apply(struct net *net, struct member *member);

/** orders_message() - what the broker asks for. */
void orders_message(struct peer *peer, json_t *message);

/** helpers_for_all() - may any user execute their program? Once `dns` was started. */
bool helpers_for_all(void);

/** helpers_start_dns() - start `dns`, in the host's namespace. Return: 0 or -errno. */
int helpers_start_dns(struct net *net, struct error *err);

/** helpers_start_proxy() - start `proxy`, in the hub, and give both their sockets. Return:
 * 0 or -errno with @err. */
int helpers_start_proxy(struct net *net, struct error *err);

/** helpers_policy() - tell both of a slot's policy, or that it is no more. */
void helpers_policy(struct net *net, const struct slot *slot);

/** helpers_are_told() - can both read all that they were told? Else the answers that wait
 * for it are due when they can. */
bool helpers_are_told(const struct net *net);

/** helpers_network() - tell both what is the host's. */
void helpers_network(struct net *net);

/** records_flow() - a connection has been logged. @data: the struct net. */
void records_flow(void *data, const struct flow *flow);

/** records_add() - @record, which is consumed, is of @slot. */
void records_add(struct net *net, struct slot *slot, json_t *record);

/** records_lost() - so many are not told. */
void records_lost(struct net *net, struct slot *slot, unsigned count);

/** records_tell() - tell the broker what there is of @slot. */
void records_tell(struct net *net, struct slot *slot);
