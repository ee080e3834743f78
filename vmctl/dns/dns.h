/*
 * The DNS proxy, `vmctl dns`: what its parts share.
 *
 * Theory of operation
 *
 * It listens in the hub, where all guests reach it as 198.19.0.1, and asks the resolvers of
 * the host, in whose network namespace it is itself; its listening sockets come from `vmctl
 * net`. It sees no files: what /etc/resolv.conf says it is told (resolv.h). A guest's
 * question (query.h) is first held against its slot's policy. What the policy lets through
 * is asked (ask.h), and before a guest in `allow` has the addresses of an answer, `vmctl
 * net` has opened them for it. So a guest can neither use a name that it may not ask for,
 * nor an address that it was not told.
 *
 * What a guest sends is hostile, so all that it can take is bounded: questions in flight
 * and TCP connections, of a slot and of all; bytes of a message; the time for an answer;
 * what is told of refusals. What is in flight for a slot ends with the slot, whose address
 * another guest gets.
 */
#pragma once

#include "vmctl/dns/message.h"
#include "vmctl/dns/upstream.h"
#include "vmctl/names/net_channel.h"
#include "vmctl/names/slots.h"

#define DNS_IN_FLIGHT	   64 /* questions of a slot */
#define DNS_IN_FLIGHT_ALL  2048
#define DNS_CONNECTIONS	   8 /* by TCP, of a slot */
#define DNS_CONNECTION_ALL 512
#define DNS_LIMIT_MS	   4800	 /* for an answer, all in all: resolvers wait for 5 s */
#define DNS_IDLE_MS	   10000 /* of a connection, between whole questions */
#define DNS_SECRET_TTL	   60	 /* seconds, of the proxy's address */
#define DNS_DENIED	   100	 /* told of a slot in a second, one by one */

struct dns_slot {
	struct slot slot;
	struct link queries, resolves, connections;
	unsigned in_flight, connection_count;
	unsigned denied, lost; /* in this second */
	uint64_t second;
};

struct dns {
	struct loop loop;
	struct net_channel channel;
	struct slots slots;
	struct upstreams upstreams;
	struct loop_source udp, tcp;
	struct link opening; /* queries that wait for `vmctl net` */
	struct loop_timer lost;
	unsigned in_flight, connection_count;
	uint32_t seq;
};

/** dns_open() - begin. @dns: zeros. @fd: the channel to `vmctl net`, which tells of all
 * else but the host's resolvers. Return: 0 or -errno with @err filled. */
int dns_open(struct dns *dns, int fd, struct error *err);

/** dns_take_flight() - one more is in flight for @slot. Return: whether the resolvers may
 * be asked for it, or there are too many. */
bool dns_take_flight(struct dns *dns, struct dns_slot *slot);

/** dns_land() - one less. */
void dns_land(struct dns *dns, struct dns_slot *slot);

/** denied_tell() - tell `vmctl net` that a question was refused, and why. */
void denied_tell(struct dns *dns, struct dns_slot *slot,
		 const struct dns_question *question, const char *reason);

/** denied_init() - before the first. */
void denied_init(struct dns *dns);

/** udp_listen(), tcp_listen() - serve a socket from now on; it becomes theirs. */
int udp_listen(struct dns *dns, int fd);
int tcp_listen(struct dns *dns, int fd);

/** tcp_drop() - end the connections of a slot. */
void tcp_drop(struct dns_slot *slot);

/** resolve_begin() - what the proxy for secrets wants to know, by `vmctl net`. */
void resolve_begin(struct dns *dns, const json_t *message);

/** resolve_drop() - what is asked for a slot is not wanted any more. */
void resolve_drop(struct dns_slot *slot);
