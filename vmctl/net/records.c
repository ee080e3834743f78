/*
 * The log of a slot, on its way to the broker: gathered for a while, and bounded.
 */
#include "vmctl/net/address.h"
#include "vmctl/net/net_parts.h"

#include <netinet/in.h>
#include <stdio.h>

#define TELL_MS	    100
#define RECORDS_MAX 200
#define NAMES_MAX   8192 /* more than the socket of `dns` holds: it keeps nobody here */

static const char *reason_of(char verdict)
{
	switch (verdict) {
	case HUB_NEVER:
		return "closed for good";
	case HUB_CLOSED:
		return "closed range";
	case HUB_NOT_ALLOW:
		return "not in allow";
	case HUB_OFF:
		return "egress off";
	default:
		return NULL;
	}
}

static json_t *protocol(uint8_t number)
{
	char text[8];

	switch (number) {
	case IPPROTO_TCP:
		return json_string("tcp");
	case IPPROTO_UDP:
		return json_string("udp");
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return json_string("icmp");
	default:
		snprintf(text, sizeof(text), "%u", number);
		return json_string(text);
	}
}

void records_flow(void *data, const struct flow *flow)
{
	struct net *net = data;
	struct slot *slot = net_slot(net, flow->slot);
	const char *reason = reason_of(flow->verdict);
	char address[POLICY_RANGE_TEXT];

	if (!slot)
		return;
	if (flow->verdict == HUB_LOST) {
		records_lost(net, slot, HUB_LOG_SAMPLE);
		return;
	}
	/* dns tells of a name before its guest hears it: read what it has said. */
	peer_read(&net->dns, NAMES_MAX);
	policy_range_print(&flow->address, address);
	records_add(net, slot,
		    json_pack("{s:s, s:o, s:s, s:i, s:s*, s:s*}", "action",
			      reason ? "deny" : "allow", "proto", protocol(flow->protocol),
			      "address", address, "port", (int)flow->port, "name",
			      known_name(&slot->known, &flow->address), "reason", reason));
}

void records_add(struct net *net, struct slot *slot, json_t *record)
{
	if (!slot->records)
		slot->records = json_array();
	if (json_array_size(slot->records) >= RECORDS_MAX) {
		json_decref(record);
		slot->lost++;
	} else {
		json_array_append_new(slot->records, record);
	}
	if (!net->tell.deadline_ns)
		loop_timer_set(&net->loop, &net->tell, TELL_MS);
}

void records_lost(struct net *net, struct slot *slot, unsigned count)
{
	slot->lost += count;
	if (!net->tell.deadline_ns)
		loop_timer_set(&net->loop, &net->tell, TELL_MS);
}

void records_tell(struct net *net, struct slot *slot)
{
	json_t *records = slot->records ? slot->records : json_array();

	slot->records = NULL;
	if (slot->lost)
		json_array_append_new(records, json_pack("{s:s, s:I}", "action", "lost",
							 "count", (json_int_t)slot->lost));
	slot->lost = 0;
	if (slot->member && json_array_size(records))
		peer_send(&net->broker,
			  json_pack("{s:s, s:I, s:O}", "event", "net", "vm",
				    (json_int_t)slot->member->vm, "records", records),
			  NULL, 0);
	json_decref(records);
}
