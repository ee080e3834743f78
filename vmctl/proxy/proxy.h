/*
 * The proxy for secrets, `vmctl proxy`: what its parts share.
 *
 * Theory of operation
 *
 * It listens in the hub at 198.19.0.2:443, which is where the DNS proxy sends guests that
 * ask for a domain with a secret. A connection (visit.h) is one of a slot, by its source
 * address, and of one domain, by the name of its TLS handshake: with a certificate of that
 * name that the host's CA signed (leaf.h). A request on it (exchange.h) is taken whole,
 * its header fields are cleaned and the secret's put in (fields.h), and then it is asked of
 * the domain itself (fetch.h), by TLS that is verified against what this machine trusts;
 * the answer goes back as it comes.
 *
 * The value of a secret is in the policy, in the fields of a request while it lasts, and
 * nowhere else: not in what is logged, nor in a sentence for the guest. What a domain
 * answers is the guest's; one that repeats what it was sent tells the secret.
 *
 * All that a guest can take is bounded: connections of a slot, bytes of header fields, of
 * bodies that are kept, and of answers that it does not take.
 */
#pragma once

#include "vmctl/names/net_channel.h"
#include "vmctl/names/slots.h"
#include "vmctl/proxy/leaf.h"
#include "vmctl/proxy/trust.h"

#include <curl/curl.h>
#include <microhttpd.h>

#define PROXY_CONNECTIONS     512
#define PROXY_CONNECTIONS_OF  32	   /* of a slot */
#define PROXY_CONNECTION_ROOM (192u << 10) /* bytes: header fields, pieces of bodies */
#define PROXY_IDLE_S	      60	   /* without a byte from or to the guest */
#define PROXY_BODY_MAX	      (64u << 20)  /* bytes of a request's body */
#define PROXY_BODIES_OF	      (128u << 20) /* bytes of bodies, of a slot */
#define PROXY_BODIES	      (512u << 20) /* bytes of all bodies */
#define PROXY_ANSWER_ROOM     (128u << 10) /* bytes of an answer that wait for the guest */
#define PROXY_PORT	      443

struct proxy_slot {
	struct slot slot;
	struct link visits;
	uint64_t bodies;
};

struct proxy {
	struct loop loop;
	struct net_channel channel;
	struct slots slots;
	struct leaves leaves;
	gnutls_x509_trust_list_t trust; /* NULL: nobody is trusted */
	struct MHD_Daemon *daemon;
	struct loop_source server;
	struct loop_timer server_timer;
	CURLM *multi;
	struct loop_timer multi_timer;
	struct link resolving; /* exchanges that wait for addresses */
	uint32_t seq;
	uint64_t bodies;
};

/** proxy_open() - begin. @proxy: zeros. @fd: the channel to `vmctl net`, which tells of all
 * else. Return: 0 or -errno with @err filled. */
int proxy_open(struct proxy *proxy, int fd, struct error *err);

/** server_open() - serve a listening socket, which becomes the server's. Return: 0 or
 * -errno with @err filled. */
int server_open(struct proxy *proxy, int fd, struct error *err);

/** server_run_soon() - a connection was resumed. */
void server_run_soon(struct proxy *proxy);

/** multi_open() - begin with libcurl. Return: 0 or -ENOMEM. */
int multi_open(struct proxy *proxy);

/** proxy_may() - does the policy of @slot have a secret for @domain, canonical, and let
 * through what goes to its port? */
bool proxy_may(const struct slot *slot, const char *domain);
