/*
 * A request of a guest to a domain, and the answer.
 *
 * 1. It comes: its head is checked, its body kept (spool.h). What is wrong with it is
 *    answered when it has come whole, since a client that still sends does not listen.
 * 2. The domain's addresses are asked for, by `vmctl net`, of the DNS proxy. Those in
 * closed ranges are left out, unless a range of the policy covers them.
 * 3. The domain is asked (fetch.h). The connection of the guest is suspended until its
 *    answer has begun, and whenever there is nothing of it to be sent.
 *
 * A guest that goes away ends it at any time, as does a policy that does not let it through
 * any more: exchange_break().
 */
#pragma once

#include "vmctl/proxy/fetch.h"
#include "vmctl/proxy/fields.h"
#include "vmctl/proxy/spool.h"
#include "vmctl/proxy/visit.h"

struct exchange {
	struct link resolving; /* on proxy->resolving */
	struct proxy *proxy;
	struct visit *visit;
	char *target;
	char *method;
	struct fields fields; /* of the request */
	struct spool body;
	bool has_body, begun, complete, suspended, broken;
	size_t thrown_away;	 /* bytes of a body that nobody wants */
	unsigned status;	 /* of an answer of our own; 0: none */
	char text[256];		 /* that answer */
	uint32_t seq;		 /* of the question for addresses */
	struct loop_source peer; /* watched while suspended */
	struct fetch fetch;
};

/* For libmicrohttpd; @cls is the proxy. */
void *exchange_uri(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result exchange_step(void *cls, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *size, void **ctx);
void exchange_completed(void *cls, struct MHD_Connection *connection, void **ctx,
			enum MHD_RequestTerminationCode code);

/** exchange_break() - end it, and the connection with it. */
void exchange_break(struct exchange *exchange);

/** exchange_resolved() - `vmctl net` answered "resolve" number @seq. */
void exchange_resolved(struct proxy *proxy, uint32_t seq, const json_t *message);

/** exchange_say() - answer with a sentence of our own. */
__attribute__((format(printf, 3, 4))) void
exchange_say(struct exchange *exchange, unsigned status, const char *format, ...);

/** exchange_suspend() - until exchange_wake(). Only from what the server calls. */
void exchange_suspend(struct exchange *exchange);

/** exchange_wake() - there is something to be done: the server goes on with it. */
void exchange_wake(struct exchange *exchange);

/** exchange_check() - is the head of the request one that is passed on? If not, it has been
 * said why. What is passed on of its fields is in exchange->fields. */
bool exchange_check(struct exchange *exchange);

/** exchange_addresses() - begin to ask for them. */
void exchange_addresses(struct exchange *exchange);
