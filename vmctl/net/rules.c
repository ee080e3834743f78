#include "vmctl/net/rules.h"

#include "util/cleanup.h"
#include "vmctl/net/address.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_ENTRIES 32 /* after so many the rules may be cut */

void rulebook_init(struct rulebook *book, struct hub *hub)
{
	*book = (struct rulebook){.hub = hub};
	list_init(&book->all);
}

static void add_ports(struct ruleset *set, const struct policy_entry *entry)
{
	if (!entry->port_count)
		return;
	ruleset_add(set, " meta l4proto { tcp, udp } ct original proto-dst {");
	for (unsigned i = 0; i < entry->port_count; i++)
		ruleset_add(set, "%s %u-%u", i ? "," : "", entry->ports[i].low,
			    entry->ports[i].high);
	ruleset_add(set, " }");
}

static void add_range(struct ruleset *set, const struct policy_entry *entry,
		      uint32_t number)
{
	char range[POLICY_RANGE_TEXT];

	policy_range_print(&entry->range, range);
	ruleset_add(set, "  ct original %s daddr %s", entry->range.six ? "ip6" : "ip",
		    range);
	add_ports(set, entry);
	ruleset_add(set, " goto y%u\n", number);
}

/* One of the hub's sets of what was resolved. */
static void add_opened_set(struct ruleset *set, const char *when, const char *name,
			   bool six, uint32_t number)
{
	const char *ip = six ? "ip6" : "ip";
	bool all = strstr(name, "_all");

	ruleset_add(set,
		    "  %smeta l4proto { tcp, udp } ct original %s saddr . ct original %s"
		    " daddr%s @%s%c goto y%u\n",
		    when, ip, ip, all ? "" : " . ct original proto-dst", name,
		    six ? '6' : '4', number);
}

/* What names were resolved to: now, and for connections that are open, before. */
static void add_opened(struct ruleset *set, uint32_t number)
{
	static const char *const open[] = {"open_all", "open", "open_wide"};
	static const char *const keep[] = {"keep_all", "keep", "keep_wide"};

	for (unsigned i = 0; i < 3; i++) {
		for (int six = 0; six < 2; six++) {
			add_opened_set(set, "", open[i], six, number);
			add_opened_set(set, "ct state established ", keep[i], six, number);
		}
	}
}

static void add_closed(struct ruleset *set)
{
	ruleset_add(set, "  ct original ip daddr @closed4 goto no_closed\n"
			 "  ct original ip6 daddr @closed6 goto no_closed\n");
}

/* They may come into force in pieces, since nothing leads to the chain yet. */
static void add_ranges(struct ruleset *set, const struct policy *policy, uint32_t number)
{
	for (size_t i = 0; i < policy->entry_count; i++) {
		if (policy->entries[i].kind != POLICY_RANGE)
			continue;
		add_range(set, &policy->entries[i], number);
		if (i % PIECE_ENTRIES == PIECE_ENTRIES - 1) {
			ruleset_add(set, "}\n}\n");
			ruleset_split(set);
			ruleset_add(set, "table inet hub {\nchain c%u {\n", number);
		}
	}
}

static void write_rules(struct ruleset *set, const struct rules *rules)
{
	const struct policy *policy = rules->policy;
	unsigned n = rules->number;

	ruleset_add(set,
		    "table inet hub {\n"
		    "chain y%u { ct mark set %u; jump log_allow; accept; }\n"
		    "chain c%u {\n"
		    "  ct mark %u accept\n"
		    "  ct original ip daddr @never4 goto no_never\n"
		    "  ct original ip6 daddr @never6 goto no_never\n",
		    n, n, n, n);
	if (policy->egress != POLICY_OFF)
		add_ranges(set, policy, n);
	if (policy->egress == POLICY_ALLOW)
		add_opened(set, n);
	if (policy->egress != POLICY_OFF)
		add_closed(set);
	if (policy->egress == POLICY_ON)
		ruleset_add(set, "  goto y%u\n", n);
	else
		ruleset_add(set, "  goto no_%s\n",
			    policy->egress == POLICY_OFF ? "off" : "list");
	ruleset_add(set, "}\n}\n");
}

/* Secrets are not the hub's: two policies that differ in them alone are one here. */
static char *describe(const struct policy *policy)
{
	json_t *json = policy_json(policy, false);
	char *text;

	json_object_del(json, "secrets");
	text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(json);
	return text;
}

struct rules *rules_of(struct rulebook *book, struct policy *policy)
{
	cleanup_free char *text = describe(policy);
	struct rules *rules;

	list_for_each (rules, &book->all, struct rules, link) {
		if (text && strcmp(rules->text, text) == 0) {
			rules->references++;
			return rules;
		}
	}
	rules = text ? calloc(1, sizeof(*rules)) : NULL;
	if (!rules)
		return NULL;
	*rules = (struct rules){.policy = policy_ref(policy),
				.text = steal_pointer(&text),
				.number = ++book->last,
				.references = 1};
	list_add_before(&book->all, &rules->link);
	write_rules(&book->hub->rules, rules);
	return rules;
}

struct rules *rules_ref(struct rules *rules)
{
	if (rules)
		rules->references++;
	return rules;
}

void rules_put(struct rulebook *book, struct rules *rules)
{
	if (!rules || --rules->references)
		return;
	ruleset_add(&book->hub->rules,
		    "delete chain inet hub c%u\n"
		    "delete chain inet hub y%u\n",
		    rules->number, rules->number);
	list_del(&rules->link);
	policy_unref(rules->policy);
	free(rules->text);
	free(rules);
}

void rules_apply(struct rulebook *book, unsigned number, const struct rules *rules,
		 const struct rules *former)
{
	struct net_address address = net_address_of(number);
	struct ruleset *set = &book->hub->rules;

	if (rules == former)
		return;
	if (former)
		ruleset_add(set,
			    "delete element inet hub slots4 { %s }\n"
			    "delete element inet hub slots6 { %s }\n",
			    address.ip4, address.ip6);
	if (rules)
		ruleset_add(set,
			    "add element inet hub slots4 { %s : goto c%u }\n"
			    "add element inet hub slots6 { %s : goto c%u }\n",
			    address.ip4, rules->number, address.ip6, rules->number);
}
