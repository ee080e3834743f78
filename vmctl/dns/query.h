/*
 * A question of a guest, from its message to the answer.
 *
 * 1. What cannot be read is answered so (FORMERR, NOTIMP), or not at all.
 * 2. The policy of the slot decides: what it does not let through is REFUSED, and told to
 *    `vmctl net`, as are ANY and transfers of zones. A domain with a secret has the address
 *    of the proxy for secrets and nothing else that leads to it (A, AAAA, HTTPS, SVCB).
 * 3. The resolvers are asked (ask.h), by UDP or TCP as the guest did.
 * 4. Of an answer to A or AAAA `vmctl net` is told the addresses. In `allow` the guest has
 * to wait until they are open. The policy is looked at once more: it may be another by now.
 * 5. The answer is the resolver's, with the guest's id; a truncated one has no records.
 */
#pragma once

#include "vmctl/dns/ask.h"
#include "vmctl/dns/dns.h"

struct query {
	struct link link;    /* on its slot's, while in flight */
	struct link opening; /* on dns->opening */
	struct dns *dns;
	struct dns_slot *slot;
	struct dns_question question;
	bool tcp;
	struct ask *ask;
	struct loop_timer limit;
	uint32_t seq; /* of the opening */
	struct buf answer;
	/* What is to be sent; NULL: nothing. Called once, maybe by query_begin(); the
	 * query is idle then. */
	void (*done)(struct query *query, const uint8_t *bytes, size_t len);
};

/** query_begin() - a message came. @query: idle, with done() set; it stays valid. */
void query_begin(struct query *query, struct dns *dns, struct dns_slot *slot, bool tcp,
		 const uint8_t *bytes, size_t len);

/** query_cancel() - the guest is not there any more: done() is not called. */
void query_cancel(struct query *query);

/** query_opened() - `vmctl net` has opened what "open" number @seq said. */
void query_opened(struct dns *dns, uint32_t seq);

/** query_drop() - done() of all of a slot, with nothing to send. */
void query_drop(struct dns_slot *slot);
