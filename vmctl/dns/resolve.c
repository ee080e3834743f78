/*
 * What the proxy for secrets asks: the addresses of a domain, of both families. Its answer
 * is
 * {"seq", "addresses": [TEXT, ...]}, with "error", a sentence, when there are none. By UDP,
 * and by TCP what does not fit.
 */
#include "vmctl/dns/ask.h"
#include "vmctl/dns/dns.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define FAMILIES 2

struct resolve;

struct half {
	struct resolve *resolve;
	struct dns_question question;
	struct ask *ask;
	bool tcp;
};

struct resolve {
	struct link link; /* on its slot's */
	struct dns *dns;
	struct dns_slot *slot;
	json_int_t seq;
	json_t *addresses;
	unsigned left; /* halves that are not answered */
	struct half halves[FAMILIES];
};

static void drop(struct resolve *resolve)
{
	for (unsigned i = 0; i < FAMILIES; i++) {
		ask_cancel(resolve->halves[i].ask);
		dns_question_fini(&resolve->halves[i].question);
	}
	list_del(&resolve->link);
	dns_land(resolve->dns, resolve->slot);
	json_decref(resolve->addresses);
	free(resolve);
}

static void answer(struct dns *dns, json_int_t seq, json_t *addresses, const char *error)
{
	json_t *message = json_pack("{s:I, s:O}", "seq", seq, "addresses", addresses);

	if (error)
		json_object_set_new(message, "error", json_string(error));
	net_channel_send(&dns->channel, message);
}

static void half_done(struct resolve *resolve)
{
	const char *error = NULL;

	if (--resolve->left)
		return;
	if (!json_array_size(resolve->addresses))
		error = "the host's resolvers know no address of it";
	answer(resolve->dns, resolve->seq, resolve->addresses, error);
	drop(resolve);
}

static void take(struct half *half, const ldns_pkt *packet)
{
	struct dns_address addresses[DNS_ADDRESSES_MAX];
	size_t count = dns_answer_addresses(&half->question, packet, addresses);

	for (size_t i = 0; i < count; i++) {
		char text[INET6_ADDRSTRLEN];

		inet_ntop(addresses[i].six ? AF_INET6 : AF_INET, addresses[i].bytes, text,
			  sizeof(text));
		json_array_append_new(half->resolve->addresses, json_string(text));
	}
}

static void asked(void *ctx, const ldns_pkt *packet, const uint8_t *bytes, size_t len);

static bool ask(struct half *half, bool tcp)
{
	struct dns *dns = half->resolve->dns;

	half->tcp = tcp;
	half->ask =
	    ask_begin(&dns->loop, &dns->upstreams, &half->question, tcp, asked, half);
	return half->ask;
}

static void asked(void *ctx, const ldns_pkt *packet, const uint8_t *bytes, size_t len)
{
	struct half *half = ctx;

	(void)bytes;
	(void)len;
	half->ask = NULL;
	if (packet && ldns_pkt_tc(packet) && !half->tcp && ask(half, true))
		return;
	if (packet)
		take(half, packet);
	half_done(half->resolve);
}

static bool begin_halves(struct resolve *resolve, const char *name)
{
	static const ldns_rr_type types[FAMILIES] = {LDNS_RR_TYPE_A, LDNS_RR_TYPE_AAAA};

	resolve->left = FAMILIES;
	for (unsigned i = 0; i < FAMILIES; i++) {
		struct half *half = &resolve->halves[i];

		half->resolve = resolve;
		if (dns_question_make(&half->question, name, types[i]) < 0 ||
		    !ask(half, false))
			return false;
	}
	return true;
}

static void begin(struct dns *dns, struct dns_slot *slot, json_int_t seq, const char *name)
{
	struct resolve *resolve = calloc(1, sizeof(*resolve));
	json_t *none = json_array();
	bool may = dns_take_flight(dns, slot);

	if (resolve) {
		resolve->dns = dns;
		resolve->slot = slot;
		resolve->seq = seq;
		resolve->addresses = json_array();
		list_add_before(&slot->resolves, &resolve->link);
	}
	if (!resolve || !may || !begin_halves(resolve, name)) {
		answer(dns, seq, none, "too much is asked at once");
		if (resolve)
			drop(resolve);
		else
			dns_land(dns, slot);
	}
	json_decref(none);
}

void resolve_begin(struct dns *dns, const json_t *message)
{
	struct slot *slot = slots_of_message(&dns->slots, message);
	const char *name = json_string_value(json_object_get(message, "name"));
	json_int_t seq = json_integer_value(json_object_get(message, "seq"));
	char canonical[POLICY_NAME_MAX + 1];
	json_t *none;

	if (slot && name && policy_name_parse(name, canonical, NULL) == 0)
		return begin(dns, container_of(slot, struct dns_slot, slot), seq,
			     canonical);
	none = json_array();
	answer(dns, seq, none, "it is no name that this slot may ask for");
	json_decref(none);
}

void resolve_drop(struct dns_slot *slot)
{
	while (!list_empty(&slot->resolves))
		drop(container_of(slot->resolves.next, struct resolve, link));
}
