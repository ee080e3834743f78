/*
 * Slots: made ahead, given to VMs, destroyed.
 *
 * Theory of operation
 *
 * Free slots are made by another process (maker.h), and destroyed by a thread (ender.h), so
 * that nobody waits for either. Numbers go round, so that an address is not soon another's.
 * There are NET_POOL, or as many as there are forks that will take one soon, or, for a
 * while, as had to be waited for at once.
 *
 * A slot has rules ahead, from when it is ordered: those of who took a slot last, whose
 * forks and siblings come next, mostly. Who has these takes it with nothing to be written:
 * the answer goes out at once. For another one the slot that was ruled longest ago gets
 * other rules, and the answer waits for the transaction. So what is free comes to look like
 * what was taken last, several policies in turn included.
 *
 * Never has a guest a tap while looser rules than its own are in force:
 *
 *  - Of a free slot's tap there is no descriptor but ours, so whatever its rules let
 *    through, nobody is there to send it. What its own kernel says goes no further than
 *    the hub, whose `input` lets in what `dns` and `proxy` are asked, and these are told
 *    of a slot when it has a member: before, its address is nobody's to them.
 *  - It is given away at once only if the map leads to the member's own rules, by a
 *    transaction that is over (is_in_force()), and if nothing that is closed for all is
 *    still to come into force. What else is to come is of other slots, or of their rules:
 *    a chain is never changed once it can be reached, only deleted, when nothing leads
 *    there.
 *  - `dns` and `proxy` take what they were told before they look whose a packet is, so it
 *    is given away only when their sockets have all that was sent (helpers_are_told()).
 *  - Else the answer waits, as it does for any change, until all is in force.
 *  - A slot is used once. What was opened for names (known.h) it has none of before it is
 *    given, and none of another guest's ever.
 *
 * Rules are counted by members alone. With the last member that has them they go, also from
 * slots that are free: what was a sandbox's policy is not kept for one that may never come.
 */
#include "util/cleanup.h"
#include "vmctl/net/address.h"
#include "vmctl/net/maker.h"
#include "vmctl/net/net_parts.h"
#include "vmctl/net/sweep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SWEEP_MS       5000
#define SWEEP_AGAIN_MS 100
#define AGAIN_MS       1000  /* until it is tried again to make one that could not be */
#define REST_MS	       60000 /* until no more are kept than NET_POOL, if few are taken */

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
	list_for_each (slot, &net->ordered, struct slot, link)
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

/* What the hub's map says of @slot, and what its names open, is of @rules from the next
 * transaction on; in between nothing passes, since that may be in force for a moment. */
static void rule(struct net *net, struct slot *slot, struct rules *rules)
{
	if (slot->rules == rules)
		return;
	rules_apply(&net->book, slot->number, NULL, slot->rules);
	known_policy(&slot->known, &net->hub.rules, rules ? rules->policy : NULL);
	rules_apply(&net->book, slot->number, rules, NULL);
	slot->rules = rules;
	slot->ruled = net->commits;
	net_commit_later(net);
}

/* Have one more made. Return: whether there is memory for it. */
static bool order(struct net *net)
{
	struct slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return false;
	list_init(&slot->link);
	slot->number = next_number(net);
	slot->made.tap = -1;
	known_init(&slot->known, slot->number);
	list_add_before(&net->ordered, &slot->link);
	net->ordered_count++;
	rule(net, slot, net->expected); /* one transaction for all that are ordered */
	peer_send(&net->maker, json_pack("{s:i}", "slot", (int)slot->number), NULL, 0);
	return true;
}

/* As many as are wanted and not there yet. */
static void fill(struct net *net)
{
	unsigned wanted = net->coming < NET_POOL_MOST ? net->coming : NET_POOL_MOST;

	if (net->make.deadline_ns)
		return;
	if (wanted < net->free_wanted)
		wanted = net->free_wanted;
	wanted += net->waiting_count;
	while (net->ordered_count + net->free_count < wanted)
		if (!order(net)) {
			loop_timer_set(&net->loop, &net->make, AGAIN_MS);
			return;
		}
}

static bool is_in_force(const struct net *net, const struct slot *slot)
{
	return slot->rules && slot->ruled < net->commits && net->closed < net->commits;
}

static json_t *slot_event(const struct member *member)
{
	return json_pack("{s:s, s:I}", "event", "slot", "vm", (json_int_t)member->vm);
}

/* Its tap is @member's when its rules are in force. */
static void answer(struct net *net, const struct member *member)
{
	struct slot *slot = member->slot;

	if (is_in_force(net, slot) && helpers_are_told(net))
		peer_send(&net->broker, slot_event(member), &slot->made.tap, 1);
	else
		net_answer(net, &net->broker, slot_event(member), slot);
}

static void leave_queue(struct net *net, struct member *member)
{
	if (list_empty(&member->wait))
		return;
	list_del(&member->wait);
	net->waiting_count--;
}

/* @member has @slot from now on. */
static void give(struct net *net, struct member *member, struct slot *slot)
{
	leave_queue(net, member);
	list_del(&slot->link);
	census_soon(net);
	list_add_before(&net->slots[slot->number % NET_BUCKETS], &slot->link);
	member->slot = slot;
	slot->member = member;
	rule(net, slot, member->rules);
	helpers_policy(net, slot);
	answer(net, member);
}

static struct member *next_waiting(const struct net *net)
{
	return list_empty(&net->waiting)
		   ? NULL
		   : container_of(net->waiting.next, struct member, wait);
}

static void add_free(struct net *net, struct slot *slot)
{
	list_add_before(&net->free, &slot->link);
	net->free_count++;
	census_soon(net);
}

static struct slot *take_free(struct net *net, struct slot *slot)
{
	list_del(&slot->link);
	net->free_count--;
	return slot;
}

static void not_made(struct net *net, struct slot *slot, const char *why)
{
	rule(net, slot, NULL);
	free(slot);
	if (net->make.deadline_ns)
		return; /* another one was not, just before */
	snprintf(net->uplink.why, sizeof(net->uplink.why), "%.250s", why);
	net_say_uplink(net);
	loop_timer_set(&net->loop, &net->make, AGAIN_MS);
}

/* They come in the order in which they were ordered. */
static void on_made(struct peer *peer, json_t *message)
{
	struct net *net = container_of(peer, struct net, maker);
	const char *why = json_string_value(json_object_get(message, "error"));
	struct member *member = next_waiting(net);
	struct slot *slot;

	if (list_empty(&net->ordered))
		return;
	slot = container_of(net->ordered.next, struct slot, link);
	list_del(&slot->link);
	net->ordered_count--;
	slot->made.tap = steal_fd(&peer->came);
	if (why || slot->made.tap < 0)
		not_made(net, slot, why ? why : "a slot has no tap");
	else if (member)
		give(net, member, slot);
	else
		add_free(net, slot);
}

static void on_maker_gone(struct peer *peer)
{
	(void)peer;
	fputs("vmctl: the sandboxes' network ends: what makes its slots has ended\n",
	      stderr);
	exit(EXIT_FAILURE);
}

static void on_make(struct loop_timer *timer)
{
	fill(container_of(timer, struct net, make));
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

static void destroy(struct net *net, struct slot *slot)
{
	list_del(&slot->link);
	rules_apply(&net->book, slot->number, NULL, slot->rules);
	known_fini(&slot->known, &net->hub.rules);
	net_commit_later(net);
	if (ender_add(&net->ender, &slot->made) < 0)
		slot_destroy(&slot->made);
	json_decref(slot->records);
	free(slot);
	census_soon(net);
}

/* Few were taken for a while. */
static void on_rest(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, rest);

	net->free_wanted = NET_POOL;
	while (net->free_count > NET_POOL)
		destroy(net,
			take_free(net, container_of(net->free.next, struct slot, link)));
}

int pool_init(struct net *net, struct error *err)
{
	int fd = maker_start(err), r = fd < 0 ? fd : ender_start(&net->ender, err);

	if (r == 0)
		r = peer_open(&net->maker, &net->loop, fd, on_made, on_maker_gone, err);
	if (r < 0)
		return r;
	loop_timer_init(&net->sweep, on_sweep);
	loop_timer_init(&net->make, on_make);
	loop_timer_init(&net->rest, on_rest);
	net->free_wanted = NET_POOL;
	fill(net);
	return 0;
}

/* Who takes many at once may do so again. */
static void grow(struct net *net)
{
	unsigned wanted = NET_POOL + net->waiting_count;

	if (wanted > NET_POOL_MOST)
		wanted = NET_POOL_MOST;
	if (net->free_wanted < wanted)
		net->free_wanted = wanted;
	if (net->free_wanted > NET_POOL && net->free_count < net->free_wanted / 2)
		loop_timer_set(&net->loop, &net->rest, REST_MS);
}

/* A free slot for @rules: the oldest one that has them, in force if there is one; else the
 * one that has had others for the longest time. */
static struct slot *choose(const struct net *net, const struct rules *rules)
{
	struct slot *slot;

	list_for_each (slot, &net->free, struct slot, link)
		if (slot->rules == rules)
			return slot;
	return container_of(net->free.next, struct slot, link);
}

/* It is no fork any more that has not taken its slot yet. */
static void has_come(struct net *net, struct member *member)
{
	net->coming -= member->coming;
	member->coming = false;
}

void pool_coming(struct net *net, struct member *member)
{
	net->coming += !member->coming;
	member->coming = true;
	fill(net);
}

void pool_take(struct net *net, struct member *member)
{
	has_come(net, member);
	if (member->slot) {
		answer(net, member);
		return;
	}
	if (net->free_count) {
		give(net, member, take_free(net, choose(net, member->rules)));
	} else if (list_empty(&member->wait)) {
		list_add_before(&net->waiting, &member->wait);
		net->waiting_count++;
	}
	net->expected = member->rules;
	grow(net);
	fill(net);
}

/* All that nobody has and that go by @from go by @to. */
static void rule_all(struct net *net, const struct rules *from, struct rules *to)
{
	struct link *lists[] = {&net->free, &net->ordered};
	struct slot *slot;

	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_for_each (slot, lists[i], struct slot, link)
			if (slot->rules == from)
				rule(net, slot, to);
}

void pool_expect(struct net *net, struct rules *rules)
{
	struct slot *slot;

	net->expected = rules;
	rule_all(net, NULL, rules);
	if (!net->free_count)
		return;
	slot = choose(net, rules);
	if (slot->rules == rules)
		return;
	rule(net, slot, rules);
	list_del(&slot->link); /* the one that was ruled last is the last */
	list_add_before(&net->free, &slot->link);
}

void pool_put_rules(struct net *net, struct rules *rules)
{
	if (rules && rules->references == 1) {
		rule_all(net, rules, NULL);
		if (net->expected == rules)
			net->expected = NULL;
		net_commit_soon(net);
	}
	rules_put(&net->book, rules);
}

void pool_apply(struct net *net, struct member *member)
{
	rule(net, member->slot, member->rules);
	ruleset_split(&net->hub.rules);
	helpers_policy(net, member->slot);
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

	has_come(net, member);
	leave_queue(net, member);
	if (!slot)
		return;
	records_tell(net, slot);
	forget_answers(net, slot);
	slot->member = NULL;
	member->slot = NULL;
	helpers_policy(net, slot);
	destroy(net, slot);
	if (!net->sweep.deadline_ns)
		loop_timer_set(&net->loop, &net->sweep, SWEEP_MS);
}
