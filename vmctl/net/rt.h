/*
 * Links, addresses, routes and neighbours, by rtnetlink (libnl-route-3).
 *
 * A `struct rt` is of the network namespace that the thread was in when it was opened. Its
 * functions name links, and addresses as text ("198.18.0.1/30", "fd70::1/64").
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

struct nl_sock;

struct rt {
	struct nl_sock *sock;
};

/** rt_open() - in the thread's namespace. Return: 0 or -errno with @err. */
int rt_open(struct rt *rt, struct error *err);

/** rt_close() - no-op when it is not open. */
void rt_close(struct rt *rt);

#define cleanup_rt __attribute__((cleanup(rt_close)))

/** rt_index() - the number of link @name, or -ENODEV with @err. */
int rt_index(struct rt *rt, const char *name, struct error *err);

/**
 * rt_veth() - make two links that are connected.
 * @name:  here, with @mac.
 * @peer:  the other end's name, with @peer_mac.
 * @netns: descriptor of the namespace that the other end is in.
 *
 * Return: 0 or -errno with @err; -EEXIST when there is a link @name.
 */
int rt_veth(struct rt *rt, const char *name, const char *mac, const char *peer,
	    const char *peer_mac, int netns, struct error *err);

/** rt_mac() - give a link this MAC address. */
int rt_mac(struct rt *rt, const char *name, const char *mac, struct error *err);

/** rt_up() - let a link carry. */
int rt_up(struct rt *rt, const char *name, struct error *err);

/** rt_wait() - until a link that is up carries; before, it drops what it is given. For some
 * tenths of a second at most. */
void rt_wait(struct rt *rt, const char *name);

/** rt_delete_index() - remove a link by its number, and its peer with it. */
int rt_delete_index(struct rt *rt, int index, struct error *err);

/** rt_address() - give a link an address with a prefix. No duplicate is looked for. */
int rt_address(struct rt *rt, const char *name, const char *address, struct error *err);

/**
 * rt_route() - send what is for @to, a prefix or "default4", "default6", by @name.
 * @via: the gateway, or NULL when it is on the link.
 */
int rt_route(struct rt *rt, const char *to, const char *via, const char *name,
	     struct error *err);

/** rt_neighbour() - who has @address on a link is known for good: @mac. */
int rt_neighbour(struct rt *rt, const char *name, const char *address, const char *mac,
		 struct error *err);
