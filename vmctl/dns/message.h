/*
 * DNS messages: what a guest asks, what the resolvers answer (RFC 1035, RFC 6891).
 *
 * Theory of operation: libldns takes messages apart and puts them together. Nothing of what
 * a guest sends is passed on but its one question, and two bits (that it can have more than
 * 512 bytes, that it wants signatures): a query is made anew for the resolver, with an id
 * of its own. An answer is the guest's once id and question of it are right; the addresses
 * in it that count are those that the chain of CNAMEs leads to from the name that was asked
 * for.
 */
#pragma once

#include "wire/policy_entry.h"

#include <ldns/ldns.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_MESSAGE_MAX	  65535
#define DNS_QUESTION_MAX  1232 /* bytes of a message from a guest */
#define DNS_UDP_MIN	  512  /* what anybody takes */
#define DNS_UDP_MAX	  1232 /* what is asked for: it fits a packet of any network */
#define DNS_ADDRESSES_MAX 128  /* of an answer, that are opened */
#define DNS_CHAIN_MAX	  16   /* CNAMEs to an address */
#define DNS_DROP	  (-1) /* a message that is none, and gets no answer */

struct dns_question {
	uint16_t id;
	ldns_rr *rr;	   /* as asked; NULL when it could not be read */
	ldns_rr_type type; /* of @rr */
	bool recursion, unchecked;
	bool edns, dnssec;
	uint16_t udp_size;		/* what the asker takes by UDP */
	char name[POLICY_NAME_MAX + 1]; /* canonical, "" when it is no host's */
};

struct dns_address {
	bool six;
	uint8_t bytes[16];
	uint32_t ttl; /* seconds, at least 1 */
};

/**
 * dns_question_read() - what the message of a guest asks for.
 * @question: to be given to dns_question_fini() in any case.
 * Return: 0, the rcode that it has to be answered with, or DNS_DROP.
 */
int dns_question_read(struct dns_question *question, const uint8_t *bytes, size_t len);

/**
 * dns_question_make() - a question of our own, to a resolver.
 * @name: canonical.
 * Return: 0 or -ENOMEM; to be given to dns_question_fini().
 */
int dns_question_make(struct dns_question *question, const char *name, ldns_rr_type type);

void dns_question_fini(struct dns_question *question);

/** dns_question_text() - the name as people write it, bytes that are none escaped. Return:
 * a string to free(), or NULL. */
char *dns_question_text(const struct dns_question *question);

/**
 * dns_query() - the message that asks a resolver.
 * Return: *@len bytes to free(), or NULL without memory.
 */
uint8_t *dns_query(const struct dns_question *question, uint16_t id, size_t *len);

/**
 * dns_reply() - an answer of our own.
 * @truncated: it is not here, ask by TCP.
 * @address: of an A record with @ttl, network order; NULL: no records.
 * Return: *@len bytes to free(), or NULL without memory.
 */
uint8_t *dns_reply(const struct dns_question *question, int rcode, bool truncated,
		   const struct in_addr *address, uint32_t ttl, size_t *len);

/**
 * dns_answer_read() - the answer of a resolver to dns_query() of @question and @id.
 * Return: what to ldns_pkt_free(), or NULL, if it is not that.
 */
ldns_pkt *dns_answer_read(const struct dns_question *question, uint16_t id,
			  const uint8_t *bytes, size_t len);

/**
 * dns_answer_addresses() - what a question for A or AAAA led to.
 * Return: how many of @addresses are set.
 */
size_t dns_answer_addresses(const struct dns_question *question, const ldns_pkt *answer,
			    struct dns_address addresses[DNS_ADDRESSES_MAX]);
