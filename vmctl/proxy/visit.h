/*
 * Connections of guests to the proxy for secrets: who they are, and their end.
 *
 * Only a slot's are let in. Which domain one is of is settled by its TLS handshake, which
 * fails without a name that the slot has a secret for. When a policy changes, those that it
 * does not have any more are cut, and all when the slot is another guest's.
 */
#pragma once

#include "vmctl/proxy/proxy.h"

struct exchange;

struct visit {
	struct link link; /* on its slot's */
	struct proxy *proxy;
	struct proxy_slot *slot; /* NULL: it has ended */
	struct MHD_Connection *connection;
	int fd;
	struct leaf *leaf;	   /* NULL before the handshake */
	struct exchange *exchange; /* that is going on, or NULL */
};

/* For libmicrohttpd and GnuTLS; @cls of the first two is the proxy. */
enum MHD_Result visit_may(void *cls, const struct sockaddr *address, socklen_t len);
void visit_notify(void *cls, struct MHD_Connection *connection, void **ctx,
		  enum MHD_ConnectionNotificationCode code);
int visit_certificate(gnutls_session_t session, const gnutls_datum_t *ca_names, int count,
		      const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
		      gnutls_pcert_st **certificate, unsigned int *certificates,
		      gnutls_privkey_t *key);

/** visit_of() - the visit of a connection, or NULL. */
struct visit *visit_of(struct MHD_Connection *connection);

/** visits_check() - cut those that the policy of @slot does not let through. */
void visits_check(struct proxy_slot *slot);

/** visits_drop() - cut all. None knows @slot afterwards. */
void visits_drop(struct proxy_slot *slot);
