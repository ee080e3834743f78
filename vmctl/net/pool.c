/*
 * Slots: made ahead, given to VMs, destroyed.
 *
 * Making one takes milliseconds, so it is done one at a time between other things, when
 * nobody waits. Numbers go round, so that an address is not soon another's.
 */
#include "util/cleanup.h"
#include "vmctl/net/address.h"
#include "vmctl/net/net_parts.h"
#include "vmctl/net/sweep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SWEEP_MS       5000
#define SWEEP_AGAIN_MS 100
#define AGAIN_MS       1000 /* until it is tried again to make one that could not be */

struct slot *net_slot(struct net *net, unsigned number)
{
	struct slot *slot;

	list_for_each (slot, &net->slots[number % NET_BUCKETS], struct slot, link)
		if (slot->number == number)
			return slot;
	return NULL;
}

static bool is_used(void *data, unsigned number)
{
	struct net *net = data;
	const struct slot *slot;

	if (net_slot(net, number))
		return true;
	list_for_each (slot, &net->free, struct slot, link)
		if (slot->number == number)
			return true;
	return false;
}

static unsigned next_number(struct net *net)
{
	do
		net->last_slot =
		    net->last_slot < NET_SLOT_MIN || net->last_slot >= NET_SLOT_MAX
			? NET_SLOT_MIN
			: net->last_slot + 1;
	while (is_used(net, net->last_slot));
	return net->last_slot;
}

static struct slot *make(struct net *net, struct error *err)
{
	struct slot *slot = calloc(1, sizeof(*slot));
	int r;

	if (!slot) {
		error_set(err, ENOMEM, "cannot make a slot");
		return NULL;
	}
	list_init(&slot->link);
	slot->number = next_number(net);
	known_init(&slot->known, slot->number);
	r = slot_make(slot->number, net->hub.netns, &net->hub.rt, &slot->made, err);
	if (r == 0)
		return slot;
	free(slot);
	return NULL;
}

/* @member has @slot from now on. */
static void give(struct net *net, struct member *member, struct slot *slot)
{
	list_del(&member->wait);
	list_del(&slot->link);
	list_add_before(&net->slots[slot->number % NET_BUCKETS], &slot->link);
	member->slot = slot;
	slot->member = member;
	pool_apply(net, member);
	net_answer(net, &net->broker,
		   json_pack("{s:s, s:I}", "event", "slot", "vm", (json_int_t)member->vm),
		   slot);
}

static struct member *next_waiting(const struct net *net)
{
	return list_empty(&net->waiting)
		   ? NULL
		   : container_of(net->waiting.next, struct member, wait);
}

static void on_make(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, make);
	struct member *member = next_waiting(net);
	struct error err;
	struct slot *slot = make(net, &err);

	if (!slot) {
		snprintf(net->uplink.why, sizeof(net->uplink.why), "%.250s", err.text);
		net_say_uplink(net);
		loop_timer_set(&net->loop, &net->make, AGAIN_MS);
		return;
	}
	if (member) {
		give(net, member, slot);
	} else {
		list_add_before(&net->free, &slot->link);
		net->free_count++;
	}
	if (net->free_count < net->free_wanted || next_waiting(net))
		loop_timer_set(&net->loop, &net->make, 0);
}

static void on_sweep(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, sweep);
	struct error err;
	int count = sweep(is_used, net, &err);

	if (count < 0)
		fprintf(stderr, "vmctl: %s\n", err.text);
	if (count == SWEEP_MOST)
		loop_timer_set(&net->loop, &net->sweep, SWEEP_AGAIN_MS);
}

void pool_init(struct net *net)
{
	loop_timer_init(&net->sweep, on_sweep);
	net->free_wanted = NET_POOL;
	loop_timer_init(&net->make, on_make);
	loop_timer_set(&net->loop, &net->make, 0);
}

/* Who takes many at once may do so again. */
static void fill(struct net *net)
{
	if (!net->free_count && net->free_wanted < NET_POOL_MOST)
		net->free_wanted *= 2;
	if (!net->make.deadline_ns)
		loop_timer_set(&net->loop, &net->make, 0);
}

void pool_take(struct net *net, struct member *member)
{
	if (member->slot) {
		net_answer(
		    net, &net->broker,
		    json_pack("{s:s, s:I}", "event", "slot", "vm", (json_int_t)member->vm),
		    member->slot);
		return;
	}
	if (net->free_count) {
		net->free_count--;
		give(net, member, container_of(net->free.next, struct slot, link));
	} else if (list_empty(&member->wait)) {
		list_add_before(&net->waiting, &member->wait);
	}
	fill(net);
}

void pool_apply(struct net *net, struct member *member)
{
	struct slot *slot = member->slot;
	struct rules *former = slot ? slot->rules : NULL;

	if (!slot)
		return;
	slot->rules = rules_of(&net->book, member->policy);
	/* In between nothing passes: that may be in force for a moment. */
	rules_apply(&net->book, slot->number, NULL, former);
	known_policy(&slot->known, &net->hub.rules,
		     slot->rules ? slot->rules->policy : NULL);
	rules_apply(&net->book, slot->number, slot->rules, NULL);
	rules_put(&net->book, former);
	ruleset_split(&net->hub.rules);
	helpers_policy(net, slot);
	net_commit_soon(net);
}

static void forget_answers(struct net *net, const struct slot *slot)
{
	struct answer *answer;

	list_for_each (answer, &net->answers, struct answer, link) {
		if (answer->slot != slot)
			continue;
		list_del(&answer->link);
		json_decref(answer->message);
		free(answer);
	}
}

void pool_release(struct net *net, struct member *member)
{
	struct slot *slot = member->slot;

	list_del(&member->wait);
	if (!slot)
		return;
	records_tell(net, slot);
	forget_answers(net, slot);
	rules_apply(&net->book, slot->number, NULL, slot->rules);
	known_fini(&slot->known, &net->hub.rules);
	rules_put(&net->book, slot->rules);
	slot->rules = NULL;
	slot->member = NULL;
	helpers_policy(net, slot);
	net_commit_soon(net);
	slot_destroy(slot->number, &net->hub.rt, &slot->made);
	list_del(&slot->link);
	json_decref(slot->records);
	free(slot);
	member->slot = NULL;
	if (!net->sweep.deadline_ns)
		loop_timer_set(&net->loop, &net->sweep, SWEEP_MS);
}
