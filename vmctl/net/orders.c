/*
 * What the broker asks for (net.h).
 */
#include "vmctl/net/net_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct member *net_member(struct net *net, uint32_t id, bool make)
{
	struct link *bucket = &net->members[id % NET_BUCKETS];
	struct member *member;

	list_for_each (member, bucket, struct member, link)
		if (member->vm == id)
			return member;
	member = make ? calloc(1, sizeof(*member)) : NULL;
	if (!member)
		return NULL;
	member->vm = id;
	list_init(&member->wait);
	list_add_before(bucket, &member->link);
	return member;
}

static void member_free(struct net *net, struct member *member)
{
	pool_release(net, member);
	list_del(&member->link);
	pool_put_rules(net, member->rules);
	policy_unref(member->policy);
	free(member);
}

/* Both references are @member's from now on. Who has no slot yet will take one. */
static void set_policy(struct net *net, struct member *member, struct policy *policy,
		       struct rules *rules)
{
	struct policy *former_policy = member->policy;
	struct rules *former_rules = member->rules;

	member->policy = policy;
	member->rules = rules;
	if (member->slot)
		pool_apply(net, member);
	else
		pool_expect(net, rules);
	pool_put_rules(net, former_rules);
	policy_unref(former_policy);
}

static void order_policy(struct net *net, uint32_t vm, const json_t *message)
{
	json_t *seq = json_incref(json_object_get(message, "seq"));
	struct error err;
	struct policy *policy = policy_from_json(json_object_get(message, "policy"), &err);
	struct member *member = policy ? net_member(net, vm, true) : NULL;

	if (member) {
		set_policy(net, member, policy, rules_of(&net->book, policy));
		net_answer(net, &net->broker,
			   json_pack("{s:s, s:I, s:o*}", "event", "policy", "vm",
				     (json_int_t)vm, "seq", seq),
			   NULL);
		return;
	}
	if (policy)
		error_set(&err, ENOMEM, "cannot keep a policy");
	policy_unref(policy);
	net_answer(net, &net->broker,
		   json_pack("{s:s, s:I, s:o*, s:i, s:s}", "event", "policy", "vm",
			     (json_int_t)vm, "seq", seq, "errno", -err.code, "error",
			     err.text),
		   NULL);
}

static void order_inherit(struct net *net, uint32_t vm, const json_t *message)
{
	json_int_t id = json_integer_value(json_object_get(message, "parent"));
	const struct member *parent = net_member(net, (uint32_t)id, false);
	struct member *member = parent && parent->policy ? net_member(net, vm, true) : NULL;

	if (!member)
		return;
	set_policy(net, member, policy_ref(parent->policy), rules_ref(parent->rules));
	if (!json_is_true(json_object_get(message, "parked")) && !member->slot)
		pool_coming(net, member);
}

static void order_take(struct net *net, uint32_t vm)
{
	struct member *member = net_member(net, vm, false);

	if (member && member->policy)
		pool_take(net, member);
}

static void order_gone(struct net *net, uint32_t vm)
{
	struct member *member = net_member(net, vm, false);

	if (member)
		member_free(net, member);
}

/* The host's own addresses, as far as others know them. */
static void add_never(struct net *net, const json_t *closed)
{
	const json_t *each;
	size_t i;

	json_array_foreach(closed, i, each)
	{
		struct policy_range range;
		char text[POLICY_RANGE_TEXT];

		if (!json_is_string(each) ||
		    policy_range_parse(json_string_value(each), &range, NULL) < 0)
			continue;
		policy_range_print(&range, text);
		net_never(net, text, range.six);
	}
}

static void order_network(struct net *net, json_t *message)
{
	json_decref(net->network);
	net->network = json_incref(message);
	add_never(net, json_object_get(message, "closed"));
	helpers_network(net);
}

/* To a broker that is new. */
static void say_all(struct net *net)
{
	net_say_uplink(net);
	census_tell(net);
}

void orders_message(struct peer *peer, json_t *message)
{
	struct net *net = container_of(peer, struct net, broker);
	const char *op = json_string_value(json_object_get(message, "op"));
	uint32_t vm = (uint32_t)json_integer_value(json_object_get(message, "vm"));

	if (!op)
		return;
	if (strcmp(op, "network") == 0)
		order_network(net, message);
	else if (strcmp(op, "uplink") == 0)
		say_all(net);
	else if (strcmp(op, "policy") == 0)
		order_policy(net, vm, message);
	else if (strcmp(op, "inherit") == 0)
		order_inherit(net, vm, message);
	else if (strcmp(op, "take") == 0)
		order_take(net, vm);
	else if (strcmp(op, "gone") == 0)
		order_gone(net, vm);
}
