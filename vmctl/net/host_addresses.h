/*
 * The addresses of the host itself, which are closed for good: as they are now, and as they
 * change.
 *
 * Theory of operation: a socket of rtnetlink belongs to the namespace in which it was
 * opened. So it is opened in the host's, before `vmctl net` goes into the hub's, and tells
 * from there on of each address that the host gets, by DHCP, a router, a VPN or a person.
 * What news were lost for want of room is asked for anew. An address that the host has no
 * more stays closed: soon it may be its again, and nobody else's is missed.
 */
#pragma once

#include "util/error.h"
#include "util/loop.h"

#include <stdbool.h>

struct nl_sock;

struct host_addresses {
	struct nl_sock *sock;
	struct loop_source source;
	void (*fn)(void *data, const char *address, bool six);
	void *data;
};

/**
 * host_addresses_open() - in the host's namespace: begin to listen.
 * @fn: called, by the two that follow, for each address, as text; maybe more than once.
 * Return: 0 or -errno with @err.
 */
int host_addresses_open(struct host_addresses *addresses,
			void (*fn)(void *data, const char *address, bool six), void *data,
			struct error *err);

/** host_addresses_read() - tell of those that there are. Return: 0 or -errno with @err. */
int host_addresses_read(struct host_addresses *addresses, struct error *err);

/** host_addresses_watch() - tell of those that come. Return: 0 or -errno with @err. */
int host_addresses_watch(struct host_addresses *addresses, struct loop *loop,
			 struct error *err);
