/* Where a domain is: of the addresses that it has those that the policy does not close. */
#include "vmctl/proxy/exchange.h"

#include <stdio.h>
#include <string.h>

/* Return: why the address must not be used, or NULL. */
static const char *closed(const struct policy *policy, const struct policy_range *range)
{
	const struct policy_entry entry = {.kind = POLICY_RANGE,
					   .range = *range,
					   .ports = {{PROXY_PORT, PROXY_PORT}},
					   .port_count = 1};

	if (policy_range_for_good(range))
		return "closed for good";
	if (policy_range_touches_closed(range) && !policy_covers(policy, &entry))
		return "closed range";
	return NULL;
}

static void tell(struct exchange *exchange, const char *address, const char *reason)
{
	json_t *message = json_pack("{s:s, s:i, s:s, s:s}", "op", "log", "slot",
				    exchange->visit->slot->slot.number, "name",
				    exchange->visit->leaf->domain, "address", address);

	if (reason)
		json_object_set_new(message, "reason", json_string(reason));
	net_channel_send(&exchange->proxy->channel, message);
}

/* Return: whether @address is one of those that may be asked, and told so. */
static bool is_open(struct exchange *exchange, const char *address)
{
	struct policy_range range;
	const char *reason;

	if (policy_range_parse(address, &range, NULL) < 0 || strchr(address, '/'))
		return false;
	reason = closed(exchange->visit->slot->slot.policy, &range);
	if (reason)
		tell(exchange, address, reason);
	return !reason;
}

static void begin_fetch(struct exchange *exchange, const json_t *addresses)
{
	const char *first = NULL;
	json_t *address;
	size_t i;

	json_array_foreach(addresses, i, address)
	{
		const char *text = json_string_value(address);

		if (!text || !is_open(exchange, text) ||
		    fetch_add_address(&exchange->fetch, text) < 0)
			continue;
		first = first ? first : text;
	}
	if (!first)
		return exchange_say(exchange, MHD_HTTP_BAD_GATEWAY,
				    "pffs: all addresses of %.200s are in ranges that are "
				    "closed; net/allow can open one\n",
				    exchange->visit->leaf->domain);
	tell(exchange, first, NULL);
	if (fetch_begin(&exchange->fetch, exchange) < 0)
		exchange_say(exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
			     "pffs: there is no memory for the request\n");
}

static struct exchange *find(const struct proxy *proxy, uint32_t seq)
{
	struct exchange *exchange;

	list_for_each (exchange, &proxy->resolving, struct exchange, resolving)
		if (exchange->seq == seq)
			return exchange;
	return NULL;
}

void exchange_resolved(struct proxy *proxy, uint32_t seq, const json_t *message)
{
	struct exchange *exchange = find(proxy, seq);
	const json_t *addresses = json_object_get(message, "addresses");
	const char *error = json_string_value(json_object_get(message, "error"));

	if (!exchange)
		return;
	list_del(&exchange->resolving);
	if (exchange->broken || !exchange->visit->slot)
		return;
	if (!json_array_size(addresses))
		exchange_say(exchange, MHD_HTTP_BAD_GATEWAY,
			     "pffs: %.100s cannot be found: %.100s\n",
			     exchange->visit->leaf->domain,
			     error ? error : "no resolver answered");
	else
		begin_fetch(exchange, addresses);
}

void exchange_addresses(struct exchange *exchange)
{
	struct proxy *proxy = exchange->proxy;

	exchange->seq = ++proxy->seq;
	list_add_before(&proxy->resolving, &exchange->resolving);
	if (net_channel_send(&proxy->channel,
			     json_pack("{s:s, s:I, s:i, s:s}", "op", "resolve", "seq",
				       (json_int_t)exchange->seq, "slot",
				       exchange->visit->slot->slot.number, "name",
				       exchange->visit->leaf->domain)) < 0)
		exchange_say(exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
			     "pffs: too much is asked at a time: try again later\n");
}
