#include "vmctl/dns/query.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define SECRETS_PROXY (198u << 24 | 19u << 16 | 2u) /* 198.19.0.2 */

static const struct policy *policy_of(const struct query *query)
{
	return query->slot->slot.policy;
}

/* Not in flight any more. */
static void idle(struct query *query)
{
	if (!query->dns)
		return;
	ask_cancel(query->ask);
	loop_timer_cancel(&query->limit);
	list_del(&query->link);
	list_del(&query->opening);
	dns_land(query->dns, query->slot);
	dns_question_fini(&query->question);
	buf_fini(&query->answer);
	query->ask = NULL;
	query->dns = NULL;
}

void query_cancel(struct query *query)
{
	idle(query);
}

static void answer(struct query *query, const uint8_t *bytes, size_t len)
{
	struct buf kept = query->answer;

	query->answer = (struct buf){0};
	idle(query);
	query->done(query, bytes, len);
	buf_fini(&kept);
}

static void reply(struct query *query, int rcode, bool truncated,
		  const struct in_addr *address)
{
	size_t len = 0;
	uint8_t *bytes =
	    dns_reply(&query->question, rcode, truncated, address, DNS_SECRET_TTL, &len);

	answer(query, bytes, len);
	free(bytes);
}

static void refuse(struct query *query, const char *reason)
{
	denied_tell(query->dns, query->slot, &query->question, reason);
	reply(query, LDNS_RCODE_REFUSED, false, NULL);
}

/* Return: why the question may not be asked, or NULL. */
static const char *forbidden(const struct query *query)
{
	const struct policy *policy = policy_of(query);
	const char *name = query->question.name;

	if (policy->egress == POLICY_OFF)
		return "egress off";
	if (policy->egress == POLICY_ALLOW && !(*name && policy_allows_name(policy, name)))
		return "not in allow";
	/* 251 to 255: IXFR, AXFR, two that are obsolete, and ANY. */
	if (query->question.type >= LDNS_RR_TYPE_IXFR &&
	    query->question.type <= LDNS_RR_TYPE_ANY)
		return "query type";
	return NULL;
}

/* Return: whether it was answered: there is a secret of the domain. */
static bool answer_secret(struct query *query)
{
	const struct in_addr proxy = {htonl(SECRETS_PROXY)};
	const char *name = query->question.name;

	if (!*name || !policy_has_secret(policy_of(query), name))
		return false;
	switch (query->question.type) {
	case LDNS_RR_TYPE_A:
		reply(query, LDNS_RCODE_NOERROR, false, &proxy);
		return true;
	case LDNS_RR_TYPE_AAAA:
	case LDNS_RR_TYPE_HTTPS:
	case LDNS_RR_TYPE_SVCB:
		reply(query, LDNS_RCODE_NOERROR, false, NULL);
		return true;
	default:
		return false;
	}
}

static json_t *ports_json(const struct query *query)
{
	const struct policy *policy = policy_of(query);
	json_t *ports = json_array();

	if (policy->egress == POLICY_ON)
		json_array_append_new(ports, json_pack("[i, i]", 1, UINT16_MAX));
	for (size_t i = 0; policy->egress == POLICY_ALLOW && i < policy->entry_count; i++) {
		const struct policy_entry *entry = &policy->entries[i];

		if (entry->kind == POLICY_RANGE ||
		    !policy_entry_names(entry, query->question.name))
			continue;
		if (!entry->port_count)
			json_array_append_new(ports, json_pack("[i, i]", 1, UINT16_MAX));
		for (unsigned j = 0; j < entry->port_count; j++)
			json_array_append_new(
			    ports,
			    json_pack("[i, i]", entry->ports[j].low, entry->ports[j].high));
	}
	return ports;
}

static json_t *addresses_json(const struct dns_address *addresses, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		char text[INET6_ADDRSTRLEN];

		inet_ntop(addresses[i].six ? AF_INET6 : AF_INET, addresses[i].bytes, text,
			  sizeof(text));
		json_array_append_new(array, json_pack("{s:s, s:I}", "address", text, "ttl",
						       (json_int_t)addresses[i].ttl));
	}
	return array;
}

/* Have `vmctl net` open what the answer leads to. Return: as net_channel_send(). */
static int open_addresses(struct query *query, const struct dns_address *addresses,
			  size_t count)
{
	struct dns *dns = query->dns;

	query->seq = ++dns->seq;
	return net_channel_send(&dns->channel,
				json_pack("{s:s, s:I, s:i, s:s, s:o, s:o}", "op", "open",
					  "seq", (json_int_t)query->seq, "slot",
					  query->slot->slot.number, "name",
					  query->question.name, "ports", ports_json(query),
					  "addresses", addresses_json(addresses, count)));
}

/* The answer is kept until its addresses are open. */
static void wait_for_opening(struct query *query, const uint8_t *bytes, size_t len)
{
	if (buf_append(&query->answer, bytes, len) < 0)
		return reply(query, LDNS_RCODE_SERVFAIL, false, NULL);
	list_add_before(&query->dns->opening, &query->opening);
}

void query_opened(struct dns *dns, uint32_t seq)
{
	struct query *query;

	list_for_each (query, &dns->opening, struct query, opening)
		if (query->seq == seq)
			return answer(query, buf_peek(&query->answer), query->answer.len);
}

static bool leads_somewhere(const struct query *query)
{
	return *query->question.name && (query->question.type == LDNS_RR_TYPE_A ||
					 query->question.type == LDNS_RR_TYPE_AAAA);
}

/* Answer with what is the resolver's, but for the id. */
static void pass_on(struct query *query, const ldns_pkt *packet, uint8_t *bytes, size_t len)
{
	struct dns_address addresses[DNS_ADDRESSES_MAX];
	const char *reason = forbidden(query);
	size_t count = 0;

	if (reason)
		return refuse(query, reason);
	if (answer_secret(query))
		return;
	LDNS_ID_SET(bytes, query->question.id);
	if (leads_somewhere(query))
		count = dns_answer_addresses(&query->question, packet, addresses);
	if (!count)
		return answer(query, bytes, len);
	if (open_addresses(query, addresses, count) < 0)
		return reply(query, LDNS_RCODE_SERVFAIL, false, NULL);
	if (policy_of(query)->egress == POLICY_ALLOW)
		return wait_for_opening(query, bytes, len);
	answer(query, bytes, len);
}

static bool fits(const struct query *query, const ldns_pkt *packet, size_t len)
{
	return query->tcp || (!ldns_pkt_tc(packet) && len <= query->question.udp_size);
}

static void asked(void *ctx, const ldns_pkt *packet, const uint8_t *bytes, size_t len)
{
	struct query *query = ctx;
	struct buf copy = {0};

	query->ask = NULL;
	if (!packet || buf_append(&copy, bytes, len) < 0)
		reply(query, LDNS_RCODE_SERVFAIL, false, NULL);
	else if (!fits(query, packet, len))
		reply(query, LDNS_RCODE_NOERROR, true, NULL);
	else
		pass_on(query, packet, copy.data + copy.head, len);
	buf_fini(&copy);
}

static void too_late(struct loop_timer *timer)
{
	reply(container_of(timer, struct query, limit), LDNS_RCODE_SERVFAIL, false, NULL);
}

static void begin_ask(struct query *query)
{
	struct dns *dns = query->dns;

	query->ask = ask_begin(&dns->loop, &dns->upstreams, &query->question, query->tcp,
			       asked, query);
	if (!query->ask)
		return reply(query, LDNS_RCODE_SERVFAIL, false, NULL);
	loop_timer_set(&dns->loop, &query->limit, DNS_LIMIT_MS);
}

static void decide(struct query *query, bool may)
{
	const char *reason = forbidden(query);

	if (reason)
		refuse(query, reason);
	else if (answer_secret(query))
		return;
	else if (!may)
		reply(query, LDNS_RCODE_SERVFAIL, false, NULL);
	else
		begin_ask(query);
}

void query_begin(struct query *query, struct dns *dns, struct dns_slot *slot, bool tcp,
		 const uint8_t *bytes, size_t len)
{
	void (*done)(struct query *, const uint8_t *, size_t) = query->done;
	bool may = dns_take_flight(dns, slot);
	int rcode;

	*query = (struct query){.dns = dns, .slot = slot, .tcp = tcp, .done = done};
	list_init(&query->opening);
	list_init(&query->link);
	list_add_before(&slot->queries, &query->link);
	loop_timer_init(&query->limit, too_late);
	rcode = dns_question_read(&query->question, bytes, len);
	if (rcode == DNS_DROP)
		answer(query, NULL, 0);
	else if (rcode)
		reply(query, rcode, false, NULL);
	else
		decide(query, may);
}

void query_drop(struct dns_slot *slot)
{
	while (!list_empty(&slot->queries))
		answer(container_of(slot->queries.next, struct query, link), NULL, 0);
}
