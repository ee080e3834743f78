/*
 * Fuzz target: a DNS message from a guest (the input begins with an even byte), or from a
 * resolver. What is made of a guest's question is one that a resolver reads as the same,
 * and every reply to it is an answer to it. What a resolver's answer leads to is
 * bounded, and open for a second at least.
 */
#include "vmctl/dns/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID 0x1234

static void check(bool right)
{
	if (!right)
		abort();
}

/* The resolver sees the same name. */
static void check_query(const struct dns_question *question)
{
	struct dns_question again;
	size_t len = 0;
	uint8_t *query = dns_query(question, ID, &len);

	check(query && dns_question_read(&again, query, len) == 0);
	check(again.id == ID && again.type == question->type);
	check(strcmp(again.name, question->name) == 0);
	check(again.dnssec == question->dnssec && again.edns == question->edns);
	dns_question_fini(&again);
	free(query);
}

static void check_reply(const struct dns_question *question, int rcode,
			const struct in_addr *address)
{
	size_t len = 0;
	uint8_t *reply = dns_reply(question, rcode, false, address, 60, &len);
	ldns_pkt *packet =
	    reply ? dns_answer_read(question, question->id, reply, len) : NULL;
	struct dns_address addresses[DNS_ADDRESSES_MAX];

	check(reply);
	check(packet && (int)ldns_pkt_get_rcode(packet) == rcode);
	if (question->type == LDNS_RR_TYPE_A)
		check(dns_answer_addresses(question, packet, addresses) == !!address);
	ldns_pkt_free(packet);
	free(reply);
}

static void from_guest(const uint8_t *data, size_t size)
{
	const struct in_addr address = {0x02001fc6};
	struct dns_question question;
	int rcode = dns_question_read(&question, data, size);
	char *text = dns_question_text(&question);
	size_t len = 0;

	if (rcode == 0) {
		check(text && question.udp_size >= DNS_UDP_MIN &&
		      question.udp_size <= DNS_UDP_MAX);
		check_query(&question);
		check_reply(&question, LDNS_RCODE_REFUSED, NULL);
		check_reply(&question, LDNS_RCODE_NOERROR, &address);
	} else if (rcode != DNS_DROP) {
		free(dns_reply(&question, rcode, false, NULL, 0, &len));
		check(len >= LDNS_HEADER_SIZE);
	}
	free(text);
	dns_question_fini(&question);
}

static void from_resolver(uint8_t *data, size_t size)
{
	struct dns_address addresses[DNS_ADDRESSES_MAX];
	struct dns_question question;
	ldns_pkt *packet;

	if (size < LDNS_HEADER_SIZE ||
	    dns_question_make(&question, "a.example", LDNS_RR_TYPE_A) < 0)
		return;
	LDNS_ID_SET(data, ID);
	packet = dns_answer_read(&question, ID, data, size);
	if (packet) {
		size_t count = dns_answer_addresses(&question, packet, addresses);

		check(count <= DNS_ADDRESSES_MAX);
		for (size_t i = 0; i < count; i++)
			check(addresses[i].ttl >= 1 && !addresses[i].six);
	}
	ldns_pkt_free(packet);
	dns_question_fini(&question);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Memory of the exact size shows a read past its end. */
	uint8_t *bytes = malloc(size ? size : 1);

	if (!bytes || !size) {
		free(bytes);
		return 0;
	}
	memcpy(bytes, data + 1, size - 1);
	if (*data & 1)
		from_resolver(bytes, size - 1);
	else
		from_guest(bytes, size - 1);
	free(bytes);
	return 0;
}
