/*
 * What is told of questions that were refused: DNS_DENIED a second of each slot, and of the
 * others how many there were.
 */
#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/dns/dns.h"

#define SECOND_NS 1000000000u
#define LOST_MS	  1000

static void tell_lost(struct dns *dns, struct dns_slot *slot)
{
	if (!slot->lost)
		return;
	net_channel_send(&dns->channel,
			 json_pack("{s:s, s:i, s:I}", "op", "lost", "slot",
				   slot->slot.number, "count", (json_int_t)slot->lost));
	slot->lost = 0;
}

static void due(struct loop_timer *timer)
{
	struct dns *dns = container_of(timer, struct dns, lost);

	for (size_t i = 0; i < SLOTS_MAX; i++)
		if (dns->slots.at[i])
			tell_lost(dns,
				  container_of(dns->slots.at[i], struct dns_slot, slot));
}

void denied_init(struct dns *dns)
{
	loop_timer_init(&dns->lost, due);
}

static bool is_too_many(struct dns *dns, struct dns_slot *slot)
{
	uint64_t second = io_monotonic_ns() / SECOND_NS;

	if (second != slot->second)
		slot->denied = 0;
	slot->second = second;
	if (slot->denied++ < DNS_DENIED)
		return false;
	slot->lost++;
	if (!dns->lost.deadline_ns)
		loop_timer_set(&dns->loop, &dns->lost, LOST_MS);
	return true;
}

void denied_tell(struct dns *dns, struct dns_slot *slot,
		 const struct dns_question *question, const char *reason)
{
	cleanup_free char *name = dns_question_text(question);
	cleanup_free char *type = ldns_rr_type2str(question->type);

	if (!name || !type || is_too_many(dns, slot))
		return;
	net_channel_send(&dns->channel,
			 json_pack("{s:s, s:i, s:s, s:s, s:s}", "op", "denied", "slot",
				   slot->slot.number, "name",
				   *question->name ? question->name : name, "type", type,
				   "reason", reason));
}
