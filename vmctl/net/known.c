#include "vmctl/net/known.h"

#include "util/io.h"
#include "vmctl/net/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull

/* Ports in order, none touching the next. */
struct ports {
	struct policy_ports at[KNOWN_PORTS_MAX];
	unsigned count;
};

struct known_name {
	struct link link;  /* on the address's list, the newest last */
	struct link order; /* on known->order */
	struct known_address *address;
	uint64_t until_ns;  /* CLOCK_MONOTONIC */
	bool open;	    /* it counts among those that open the address now */
	bool kept;	    /* likewise, to connections that are older than the policy */
	struct ports ports; /* what the policy gives it */
	char text[];
};

struct known_address {
	struct known_address *next; /* in its bucket */
	struct policy_range range;
	bool closed; /* no name opens it */
	struct link names;
	unsigned count;
	struct ports open, keep; /* in the hub's sets */
};

static int compare_ports(const void *a, const void *b)
{
	return (int)((const struct policy_ports *)a)->low -
	       (int)((const struct policy_ports *)b)->low;
}

static void merge(struct ports *ports)
{
	unsigned kept = 0;

	qsort(ports->at, ports->count, sizeof(ports->at[0]), compare_ports);
	for (unsigned i = 0; i < ports->count; i++) {
		struct policy_ports *last = &ports->at[kept ? kept - 1 : 0];

		if (kept && ports->at[i].low <= last->high + 1) {
			if (ports->at[i].high > last->high)
				last->high = ports->at[i].high;
		} else {
			ports->at[kept++] = ports->at[i];
		}
	}
	ports->count = kept;
}

static void add(struct ports *ports, struct policy_ports more)
{
	if (ports->count == KNOWN_PORTS_MAX)
		merge(ports);
	if (ports->count < KNOWN_PORTS_MAX)
		ports->at[ports->count++] = more;
}

/* What the entries of the policy give to @name. */
static void look_up(const struct known *known, struct known_name *name)
{
	const struct policy *policy = known->policy;

	name->ports.count = 0;
	if (!policy || policy->egress != POLICY_ALLOW || name->address->closed)
		return;
	for (size_t i = 0; i < policy->entry_count; i++) {
		const struct policy_entry *entry = &policy->entries[i];

		if (!policy_entry_names(entry, name->text))
			continue;
		if (!entry->port_count)
			add(&name->ports,
			    (struct policy_ports){.low = 0, .high = UINT16_MAX});
		for (unsigned p = 0; p < entry->port_count; p++)
			add(&name->ports, entry->ports[p]);
	}
	merge(&name->ports);
}

static bool is_all(const struct policy_ports *ports)
{
	return ports->low == 0 && ports->high == UINT16_MAX;
}

static bool is_wide(const struct policy_ports *ports)
{
	return !is_all(ports) && ports->high - ports->low >= KNOWN_WIDE;
}

/* How many elements that is, or what it costs the kernel as much as. */
static unsigned cost_of(const struct ports *ports)
{
	unsigned cost = 0;

	for (unsigned i = 0; i < ports->count; i++) {
		const struct policy_ports *at = &ports->at[i];

		cost += is_all(at)    ? 1
			: is_wide(at) ? KNOWN_WIDE
				      : (unsigned)(at->high - at->low + 1);
	}
	return cost;
}

/* @to: a slot and an address. */
static void write_range(struct ruleset *set, const char *verb, const char *name,
			char version, const char *to, const struct policy_ports *ports)
{
	if (is_all(ports)) {
		ruleset_add(set, "%s element inet hub %s_all%c { %s }\n", verb, name,
			    version, to);
		return;
	}
	if (is_wide(ports)) {
		ruleset_add(set, "%s element inet hub %s_wide%c { %s . %u-%u }\n", verb,
			    name, version, to, ports->low, ports->high);
		return;
	}
	for (unsigned port = ports->low; port <= ports->high; port++)
		ruleset_add(set, "%s element inet hub %s%c { %s . %u }\n", verb, name,
			    version, to, port);
}

static void write_ports(const struct known *known, struct ruleset *set, const char *verb,
			const char *name, const struct policy_range *address,
			const struct ports *ports)
{
	struct net_address slot = net_address_of(known->slot);
	char text[POLICY_RANGE_TEXT], to[POLICY_RANGE_TEXT + NET_ADDRESS_TEXT + 4];

	policy_range_print(address, text);
	snprintf(to, sizeof(to), "%s . %s", address->six ? slot.ip6 : slot.ip4, text);
	for (unsigned i = 0; i < ports->count; i++) {
		write_range(set, verb, name, address->six ? '6' : '4', to, &ports->at[i]);
		ruleset_split(set);
	}
}

/* @is has to be @wanted. */
static void replace(struct known *known, struct ruleset *set, const char *name,
		    const struct policy_range *address, struct ports *is,
		    const struct ports *wanted)
{
	if (is->count == wanted->count &&
	    memcmp(is->at, wanted->at, is->count * sizeof(is->at[0])) == 0)
		return;
	write_ports(known, set, "delete", name, address, is);
	write_ports(known, set, "add", name, address, wanted);
	known->elements += cost_of(wanted) - cost_of(is);
	*is = *wanted;
}

/* What its names give it comes into force. */
static void update(struct known *known, struct ruleset *set, struct known_address *address)
{
	struct ports open = {.count = 0}, keep = {.count = 0};
	struct known_name *name;

	list_for_each (name, &address->names, struct known_name, link) {
		for (unsigned i = 0; i < name->ports.count; i++) {
			if (name->open)
				add(&open, name->ports.at[i]);
			if (name->kept)
				add(&keep, name->ports.at[i]);
		}
	}
	merge(&open);
	merge(&keep);
	replace(known, set, "open", &address->range, &address->open, &open);
	replace(known, set, "keep", &address->range, &address->keep, &keep);
}

static unsigned bucket_of(const struct policy_range *address)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (unsigned i = 0; i < (address->six ? 16 : 4); i++)
		hash = (hash ^ address->address[i]) * 16777619u;
	return hash % KNOWN_BUCKETS;
}

static struct known_address *find(const struct known *known,
				  const struct policy_range *range)
{
	struct known_address *at = known->buckets[bucket_of(range)];

	while (at && (at->range.six != range->six ||
		      memcmp(at->range.address, range->address, range->six ? 16 : 4) != 0))
		at = at->next;
	return at;
}

static void free_address(struct known *known, struct known_address *address)
{
	struct known_address **at = &known->buckets[bucket_of(&address->range)];

	while (*at != address)
		at = &(*at)->next;
	*at = address->next;
	free(address);
}

/* Names of @address have gone, or are given something else. */
static void settle(struct known *known, struct ruleset *set, struct known_address *address)
{
	update(known, set, address);
	if (!address->count)
		free_address(known, address);
}

static void settle_all(struct known *known, struct ruleset *set)
{
	for (unsigned i = 0; i < KNOWN_BUCKETS; i++) {
		struct known_address *next;

		for (struct known_address *at = known->buckets[i]; at; at = next) {
			next = at->next;
			settle(known, set, at);
		}
	}
}

/* Return: its address, which the caller settles. */
static struct known_address *drop(struct known *known, struct known_name *name)
{
	struct known_address *address = name->address;

	list_del(&name->link);
	list_del(&name->order);
	free(name);
	known->count--;
	address->count--;
	return address;
}

static struct known_name *oldest(const struct known *known)
{
	return container_of(known->order.next, struct known_name, order);
}

static struct known_address *address_of(struct known *known,
					const struct policy_range *range)
{
	unsigned bucket = bucket_of(range);
	struct known_address *address = find(known, range);

	if (address)
		return address;
	address = calloc(1, sizeof(*address));
	if (!address)
		return NULL;
	address->range = *range;
	address->closed = policy_range_touches_closed(range);
	list_init(&address->names);
	address->next = known->buckets[bucket];
	known->buckets[bucket] = address;
	return address;
}

/* A name of @address which it has not yet. Return: NULL without memory. */
static struct known_name *add_name(struct known *known, struct ruleset *set,
				   struct known_address *address, const char *text)
{
	size_t len = strlen(text) + 1;
	struct known_name *name = calloc(1, sizeof(*name) + len);

	if (!name)
		return NULL;
	memcpy(name->text, text, len);
	name->address = address;
	list_add_before(&address->names, &name->link);
	list_add_before(&known->order, &name->order);
	address->count++;
	known->count++;
	look_up(known, name);
	if (address->count > KNOWN_NAMES_MAX)
		drop(known, container_of(address->names.next, struct known_name, link));
	if (known->count > KNOWN_MAX)
		settle(known, set, drop(known, oldest(known)));
	return name;
}

static struct known_name *name_of(struct known *known, struct ruleset *set,
				  const struct policy_range *range, const char *text)
{
	struct known_address *address = address_of(known, range);
	struct known_name *name;

	if (!address)
		return NULL;
	list_for_each (name, &address->names, struct known_name, link)
		if (strcmp(name->text, text) == 0)
			return name;
	name = add_name(known, set, address, text);
	if (!address->count)
		free_address(known, address);
	return name;
}

/* It has been asked for just now. */
static void renew(struct known *known, struct known_name *name, uint32_t ttl_s)
{
	uint64_t until = io_monotonic_ns() + ttl_s * SECOND_NS;

	if (until > name->until_ns)
		name->until_ns = until;
	list_del(&name->link);
	list_add_before(&name->address->names, &name->link);
	list_del(&name->order);
	list_add_before(&known->order, &name->order);
	if (!known->expire_ns || until < known->expire_ns)
		known->expire_ns = until;
}

void known_init(struct known *known, unsigned slot)
{
	*known = (struct known){.slot = slot};
	list_init(&known->order);
}

void known_add(struct known *known, struct ruleset *set, const struct policy_range *address,
	       const char *name, uint32_t ttl_s)
{
	struct known_name *at = name_of(known, set, address, name);

	if (!at)
		return;
	renew(known, at, ttl_s);
	if (at->open)
		return;
	at->open = true;
	update(known, set, at->address);
	while (known->elements > KNOWN_ELEMENTS_MAX)
		settle(known, set, drop(known, oldest(known)));
}

/* Close @name. Return: what that costs. */
static unsigned end(struct known *known, struct ruleset *set, struct known_name *name)
{
	unsigned cost = 1 + cost_of(&name->address->open);

	name->open = false;
	update(known, set, name->address);
	return cost;
}

uint64_t known_expire(struct known *known, struct ruleset *set, unsigned *budget)
{
	uint64_t now = io_monotonic_ns(), next = 0;
	struct known_name *name;

	if (!known->expire_ns || known->expire_ns > now)
		return known->expire_ns;
	list_for_each (name, &known->order, struct known_name, order) {
		if (!name->open)
			continue;
		if (name->until_ns <= now && *budget) {
			unsigned cost = end(known, set, name);

			*budget -= cost < *budget ? cost : *budget;
		} else if (!next || name->until_ns < next) {
			next = name->until_ns;
		}
	}
	return known->expire_ns = next;
}

void known_policy(struct known *known, struct ruleset *set, const struct policy *policy)
{
	struct known_name *name;
	size_t most = 0; /* elements, when no two names open the same */

	known->policy = policy;
	list_for_each (name, &known->order, struct known_name, order) {
		name->kept = true;
		look_up(known, name);
		most += 2ul * cost_of(&name->ports);
	}
	for (; most > KNOWN_ELEMENTS_MAX; drop(known, oldest(known)))
		most -= 2ul * cost_of(&oldest(known)->ports);
	settle_all(known, set);
}

const char *known_name(const struct known *known, const struct policy_range *address)
{
	const struct known_address *at = find(known, address);

	return at ? container_of(at->names.prev, struct known_name, link)->text : NULL;
}

void known_fini(struct known *known, struct ruleset *set)
{
	while (known->count)
		drop(known, oldest(known));
	settle_all(known, set);
	known_init(known, known->slot);
}
