#include "vmctl/dns/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void cleanup_packet_fn(ldns_pkt **packet)
{
	ldns_pkt_free(*packet);
}

#define cleanup_packet __attribute__((cleanup(cleanup_packet_fn)))

/* A query has one question, and behind it what EDNS adds; at most a signature more. */
static bool is_query(const uint8_t *bytes)
{
	return LDNS_QDCOUNT(bytes) == 1 && !LDNS_ANCOUNT(bytes) && !LDNS_NSCOUNT(bytes) &&
	       LDNS_ARCOUNT(bytes) <= 2;
}

static void take_edns(struct dns_question *question, const ldns_pkt *packet)
{
	uint16_t size = ldns_pkt_edns_udp_size(packet);

	question->edns = ldns_pkt_edns(packet);
	question->dnssec = question->edns && ldns_pkt_edns_do(packet);
	if (!question->edns || size < DNS_UDP_MIN)
		size = DNS_UDP_MIN;
	question->udp_size = size > DNS_UDP_MAX ? DNS_UDP_MAX : size;
}

char *dns_question_text(const struct dns_question *question)
{
	return question->rr ? ldns_rdf2str(ldns_rr_owner(question->rr)) : NULL;
}

static int take_question(struct dns_question *question, const ldns_rr *rr)
{
	char *text;

	question->rr = rr ? ldns_rr_clone(rr) : NULL;
	text = dns_question_text(question);
	if (!text)
		return LDNS_RCODE_SERVFAIL;
	if (policy_name_parse(text, question->name, NULL) < 0)
		question->name[0] = '\0';
	free(text);
	question->type = ldns_rr_get_type(rr);
	return ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN ? 0 : LDNS_RCODE_REFUSED;
}

int dns_question_read(struct dns_question *question, const uint8_t *bytes, size_t len)
{
	cleanup_packet ldns_pkt *packet = NULL;

	*question = (struct dns_question){.udp_size = DNS_UDP_MIN};
	if (len < LDNS_HEADER_SIZE || len > DNS_QUESTION_MAX || LDNS_QR_WIRE(bytes))
		return DNS_DROP;
	question->id = LDNS_ID_WIRE(bytes);
	question->recursion = LDNS_RD_WIRE(bytes);
	question->unchecked = LDNS_CD_WIRE(bytes);
	if (LDNS_OPCODE_WIRE(bytes) != LDNS_PACKET_QUERY)
		return LDNS_RCODE_NOTIMPL;
	if (!is_query(bytes) || ldns_wire2pkt(&packet, bytes, len) != LDNS_STATUS_OK)
		return LDNS_RCODE_FORMERR;
	take_edns(question, packet);
	return take_question(question, ldns_rr_list_rr(ldns_pkt_question(packet), 0));
}

int dns_question_make(struct dns_question *question, const char *name, ldns_rr_type type)
{
	*question = (struct dns_question){.recursion = true,
					  .edns = true,
					  .udp_size = DNS_UDP_MAX,
					  .type = type,
					  .rr = ldns_rr_new()};
	if (!question->rr)
		return -ENOMEM;
	ldns_rr_set_question(question->rr, true);
	ldns_rr_set_type(question->rr, type);
	ldns_rr_set_class(question->rr, LDNS_RR_CLASS_IN);
	ldns_rr_set_owner(question->rr, ldns_dname_new_frm_str(name));
	return ldns_rr_owner(question->rr) ? 0 : -ENOMEM;
}

void dns_question_fini(struct dns_question *question)
{
	ldns_rr_free(question->rr);
	question->rr = NULL;
}

/* Return: a message with the question, or NULL. */
static ldns_pkt *begin(const struct dns_question *question, uint16_t id)
{
	ldns_pkt *packet = ldns_pkt_new();
	ldns_rr *rr = packet && question->rr ? ldns_rr_clone(question->rr) : NULL;

	if (!packet)
		return NULL;
	ldns_pkt_set_id(packet, id);
	ldns_pkt_set_cd(packet, question->unchecked);
	if (!question->rr || (rr && ldns_pkt_push_rr(packet, LDNS_SECTION_QUESTION, rr)))
		return packet;
	ldns_rr_free(rr);
	ldns_pkt_free(packet);
	return NULL;
}

static uint8_t *end(const ldns_pkt *packet, size_t *len)
{
	uint8_t *bytes = NULL;

	return ldns_pkt2wire(&bytes, packet, len) == LDNS_STATUS_OK ? bytes : NULL;
}

uint8_t *dns_query(const struct dns_question *question, uint16_t id, size_t *len)
{
	cleanup_packet ldns_pkt *packet = begin(question, id);

	if (!packet)
		return NULL;
	ldns_pkt_set_rd(packet, true);
	if (question->edns)
		ldns_pkt_set_edns_udp_size(packet, question->udp_size);
	ldns_pkt_set_edns_do(packet, question->dnssec);
	return end(packet, len);
}

static bool push_address(ldns_pkt *packet, const struct dns_question *question,
			 const struct in_addr *address, uint32_t ttl)
{
	ldns_rr *rr = ldns_rr_new_frm_type(LDNS_RR_TYPE_A);

	if (!rr)
		return false;
	ldns_rr_set_owner(rr, ldns_rdf_clone(ldns_rr_owner(question->rr)));
	ldns_rr_set_ttl(rr, ttl);
	ldns_rr_set_rdf(
	    rr, ldns_rdf_new_frm_data(LDNS_RDF_TYPE_A, sizeof(*address), address), 0);
	if (ldns_rr_owner(rr) && ldns_rr_rdf(rr, 0) &&
	    ldns_pkt_push_rr(packet, LDNS_SECTION_ANSWER, rr))
		return true;
	ldns_rr_free(rr);
	return false;
}

uint8_t *dns_reply(const struct dns_question *question, int rcode, bool truncated,
		   const struct in_addr *address, uint32_t ttl, size_t *len)
{
	cleanup_packet ldns_pkt *packet = begin(question, question->id);

	if (!packet || (address && !push_address(packet, question, address, ttl)))
		return NULL;
	ldns_pkt_set_qr(packet, true);
	ldns_pkt_set_rd(packet, question->recursion);
	ldns_pkt_set_ra(packet, true);
	ldns_pkt_set_tc(packet, truncated);
	ldns_pkt_set_rcode(packet, (uint8_t)rcode);
	if (question->edns)
		ldns_pkt_set_edns_udp_size(packet, DNS_UDP_MAX);
	return end(packet, len);
}

ldns_pkt *dns_answer_read(const struct dns_question *question, uint16_t id,
			  const uint8_t *bytes, size_t len)
{
	cleanup_packet ldns_pkt *packet = NULL;
	const ldns_rr *asked;
	ldns_pkt *taken;

	if (len < LDNS_HEADER_SIZE || !LDNS_QR_WIRE(bytes) || LDNS_ID_WIRE(bytes) != id ||
	    LDNS_OPCODE_WIRE(bytes) != LDNS_PACKET_QUERY || LDNS_QDCOUNT(bytes) != 1 ||
	    ldns_wire2pkt(&packet, bytes, len) != LDNS_STATUS_OK)
		return NULL;
	asked = ldns_rr_list_rr(ldns_pkt_question(packet), 0);
	if (!asked || ldns_rr_get_type(asked) != question->type ||
	    ldns_rr_get_class(asked) != LDNS_RR_CLASS_IN ||
	    ldns_dname_compare(ldns_rr_owner(asked), ldns_rr_owner(question->rr)) != 0)
		return NULL;
	taken = packet;
	packet = NULL;
	return taken;
}

static bool is_of(const ldns_rr *rr, const ldns_rdf *name, ldns_rr_type type)
{
	return ldns_rr_get_type(rr) == type && ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN &&
	       ldns_rr_rd_count(rr) == 1 &&
	       ldns_dname_compare(ldns_rr_owner(rr), name) == 0;
}

/* Return: what @name is another name for, or NULL. */
static const ldns_rdf *alias(const ldns_rr_list *records, const ldns_rdf *name)
{
	for (size_t i = 0; i < ldns_rr_list_rr_count(records); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(records, i);

		if (is_of(rr, name, LDNS_RR_TYPE_CNAME))
			return ldns_rr_rdf(rr, 0);
	}
	return NULL;
}

static bool take_address(const ldns_rr *rr, struct dns_address *address)
{
	const ldns_rdf *data = ldns_rr_rdf(rr, 0);
	uint32_t ttl = ldns_rr_ttl(rr);

	*address = (struct dns_address){.six = ldns_rr_get_type(rr) == LDNS_RR_TYPE_AAAA};
	if (ldns_rdf_size(data) != (address->six ? 16 : 4))
		return false;
	memcpy(address->bytes, ldns_rdf_data(data), ldns_rdf_size(data));
	/* RFC 2181, 8: with the highest bit it is 0. Nobody can use what is never open. */
	address->ttl = ttl && ttl <= INT32_MAX ? ttl : 1;
	return true;
}

size_t dns_answer_addresses(const struct dns_question *question, const ldns_pkt *answer,
			    struct dns_address addresses[DNS_ADDRESSES_MAX])
{
	const ldns_rr_list *records = ldns_pkt_answer(answer);
	const ldns_rdf *name = ldns_rr_owner(question->rr), *next = name;
	size_t count = 0;

	for (unsigned i = 0; next && i < DNS_CHAIN_MAX; i++) {
		name = next;
		next = alias(records, name);
	}
	for (size_t i = 0; i < ldns_rr_list_rr_count(records); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(records, i);

		if (count < DNS_ADDRESSES_MAX && is_of(rr, name, question->type) &&
		    take_address(rr, &addresses[count]))
			count++;
	}
	return count;
}
