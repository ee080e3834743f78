#include "vmctl/net/rt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define TURN_NS 500000 /* between one look at a link and the next */
#define TURNS	400

/* libnl's objects, given back when their scope ends. */
#define OBJECT_CLEANUP(type, put)                                                          \
	static void put##_cleanup(struct type **object)                                    \
	{                                                                                  \
		if (*object)                                                               \
			put(*object);                                                      \
	}

OBJECT_CLEANUP(nl_addr, nl_addr_put)
OBJECT_CLEANUP(rtnl_link, rtnl_link_put)
OBJECT_CLEANUP(rtnl_addr, rtnl_addr_put)
OBJECT_CLEANUP(rtnl_route, rtnl_route_put)
OBJECT_CLEANUP(rtnl_neigh, rtnl_neigh_put)

#define owned(put) __attribute__((cleanup(put##_cleanup)))

static int errno_of(int code)
{
	switch (-code) {
	case NLE_EXIST:
		return EEXIST;
	case NLE_NODEV:
	case NLE_OBJ_NOTFOUND:
		return ENODEV;
	case NLE_PERM:
		return EPERM;
	case NLE_NOMEM:
		return ENOMEM;
	case NLE_BUSY:
		return EBUSY;
	default:
		return EIO;
	}
}

/* What libnl returned. Its own words are the kernel's. */
static int check(int code, struct error *err, const char *what, const char *which)
{
	if (code >= 0)
		return 0;
	return error_say(err, errno_of(code), "cannot %s %s: %s", what, which,
			 nl_geterror(code));
}

int rt_open(struct rt *rt, struct error *err)
{
	int r;

	rt->sock = nl_socket_alloc();
	if (!rt->sock)
		return error_set(err, ENOMEM, "cannot talk to the kernel's network");
	r = check(nl_connect(rt->sock, NETLINK_ROUTE), err, "talk to", "rtnetlink");
	if (r < 0)
		rt_close(rt);
	return r;
}

void rt_close(struct rt *rt)
{
	if (rt->sock)
		nl_socket_free(rt->sock);
	rt->sock = NULL;
}

static int parse(const char *text, int family, struct nl_addr **address, struct error *err)
{
	return check(nl_addr_parse(text, family, address), err, "understand the address",
		     text);
}

int rt_index(struct rt *rt, const char *name, struct error *err)
{
	owned(rtnl_link_put) struct rtnl_link *link = NULL;
	int r = check(rtnl_link_get_kernel(rt->sock, 0, name, &link), err, "find the link",
		      name);

	return r < 0 ? r : rtnl_link_get_ifindex(link);
}

int rt_veth(struct rt *rt, const char *name, const char *mac, const char *peer,
	    const char *peer_mac, int netns, struct error *err)
{
	owned(rtnl_link_put) struct rtnl_link *link = rtnl_link_veth_alloc();
	owned(rtnl_link_put) struct rtnl_link *other =
	    link ? rtnl_link_veth_get_peer(link) : NULL;
	owned(nl_addr_put) struct nl_addr *here = NULL, *there = NULL;
	int r = other ? parse(mac, AF_LLC, &here, err)
		      : error_set(err, ENOMEM, "cannot make the link %s", name);

	if (r == 0)
		r = parse(peer_mac, AF_LLC, &there, err);
	if (r < 0)
		return r;
	rtnl_link_set_name(link, name);
	rtnl_link_set_addr(link, here);
	rtnl_link_set_name(other, peer);
	rtnl_link_set_addr(other, there);
	rtnl_link_set_ns_fd(other, netns);
	return check(rtnl_link_add(rt->sock, link, NLM_F_CREATE | NLM_F_EXCL), err,
		     "make the link", name);
}

/* Change what @change says of a link. */
static int change_link(struct rt *rt, const char *name, struct rtnl_link *change,
		       struct error *err)
{
	owned(rtnl_link_put) struct rtnl_link *link = rtnl_link_alloc();
	int index = rt_index(rt, name, err);

	if (index < 0)
		return index;
	if (!link)
		return error_set(err, ENOMEM, "cannot change the link %s", name);
	rtnl_link_set_ifindex(link, index);
	return check(rtnl_link_change(rt->sock, link, change, 0), err, "change the link",
		     name);
}

int rt_mac(struct rt *rt, const char *name, const char *mac, struct error *err)
{
	owned(rtnl_link_put) struct rtnl_link *change = rtnl_link_alloc();
	owned(nl_addr_put) struct nl_addr *address = NULL;
	int r = change ? parse(mac, AF_LLC, &address, err)
		       : error_set(err, ENOMEM, "cannot change the link %s", name);

	if (r < 0)
		return r;
	rtnl_link_set_addr(change, address);
	return change_link(rt, name, change, err);
}

int rt_up(struct rt *rt, const char *name, struct error *err)
{
	owned(rtnl_link_put) struct rtnl_link *change = rtnl_link_alloc();

	if (!change)
		return error_set(err, ENOMEM, "cannot change the link %s", name);
	rtnl_link_set_flags(change, IFF_UP);
	return change_link(rt, name, change, err);
}

/* The kernel lets a link carry behind the back of who said so. */
void rt_wait(struct rt *rt, const char *name)
{
	const struct timespec turn = {.tv_nsec = TURN_NS};
	bool runs = false;

	for (unsigned i = 0; i < TURNS && !runs; i++) {
		owned(rtnl_link_put) struct rtnl_link *link = NULL;

		if (rtnl_link_get_kernel(rt->sock, 0, name, &link) < 0)
			return;
		runs = rtnl_link_get_flags(link) & IFF_RUNNING;
		if (!runs)
			nanosleep(&turn, NULL);
	}
}

int rt_delete_index(struct rt *rt, int index, struct error *err)
{
	owned(rtnl_link_put) struct rtnl_link *link = rtnl_link_alloc();

	if (!link)
		return error_set(err, ENOMEM, "cannot remove a link");
	rtnl_link_set_ifindex(link, index);
	return check(rtnl_link_delete(rt->sock, link), err, "remove", "a link");
}

int rt_address(struct rt *rt, const char *name, const char *address, struct error *err)
{
	owned(rtnl_addr_put) struct rtnl_addr *object = rtnl_addr_alloc();
	owned(nl_addr_put) struct nl_addr *local = NULL;
	int index = rt_index(rt, name, err);
	int r = index < 0 ? index : parse(address, AF_UNSPEC, &local, err);

	if (r < 0)
		return r;
	if (!object)
		return error_set(err, ENOMEM, "cannot set the address %s", address);
	rtnl_addr_set_ifindex(object, index);
	rtnl_addr_set_local(object, local);
	rtnl_addr_set_prefixlen(object, (int)nl_addr_get_prefixlen(local));
	if (nl_addr_get_family(local) == AF_INET6)
		rtnl_addr_set_flags(object, IFA_F_NODAD);
	return check(rtnl_addr_add(rt->sock, object, 0), err, "set the address", address);
}

/* Where a route leads: a link, and a gateway if there is one. */
static struct rtnl_nexthop *next_hop(int index, struct nl_addr *gateway)
{
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();

	if (!hop)
		return NULL;
	rtnl_route_nh_set_ifindex(hop, index);
	if (gateway)
		rtnl_route_nh_set_gateway(hop, gateway);
	return hop;
}

static int parse_route(const char *to, struct nl_addr **prefix, struct error *err)
{
	if (strcmp(to, "default4") == 0)
		return parse("0.0.0.0/0", AF_INET, prefix, err);
	if (strcmp(to, "default6") == 0)
		return parse("::/0", AF_INET6, prefix, err);
	return parse(to, AF_UNSPEC, prefix, err);
}

int rt_route(struct rt *rt, const char *to, const char *via, const char *name,
	     struct error *err)
{
	owned(rtnl_route_put) struct rtnl_route *route = rtnl_route_alloc();
	owned(nl_addr_put) struct nl_addr *prefix = NULL, *gateway = NULL;
	int index = rt_index(rt, name, err);
	int r = index < 0 ? index : parse_route(to, &prefix, err);
	struct rtnl_nexthop *hop;

	if (r == 0 && via)
		r = parse(via, AF_UNSPEC, &gateway, err);
	if (r < 0)
		return r;
	hop = route ? next_hop(index, gateway) : NULL;
	if (!hop)
		return error_set(err, ENOMEM, "cannot set the route to %s", to);
	rtnl_route_add_nexthop(route, hop);
	rtnl_route_set_family(route, (uint8_t)nl_addr_get_family(prefix));
	rtnl_route_set_dst(route, prefix);
	rtnl_route_set_table(route, RT_TABLE_MAIN);
	rtnl_route_set_scope(route, via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK);
	return check(rtnl_route_add(rt->sock, route, NLM_F_EXCL), err, "set the route to",
		     to);
}

int rt_neighbour(struct rt *rt, const char *name, const char *address, const char *mac,
		 struct error *err)
{
	owned(rtnl_neigh_put) struct rtnl_neigh *neighbour = rtnl_neigh_alloc();
	owned(nl_addr_put) struct nl_addr *ip = NULL, *link = NULL;
	int index = rt_index(rt, name, err);
	int r = index < 0 ? index : parse(address, AF_UNSPEC, &ip, err);

	if (r == 0)
		r = parse(mac, AF_LLC, &link, err);
	if (r < 0)
		return r;
	if (!neighbour)
		return error_set(err, ENOMEM, "cannot set the neighbour %s", address);
	rtnl_neigh_set_ifindex(neighbour, index);
	rtnl_neigh_set_dst(neighbour, ip);
	rtnl_neigh_set_lladdr(neighbour, link);
	rtnl_neigh_set_state(neighbour, NUD_PERMANENT);
	return check(rtnl_neigh_add(rt->sock, neighbour, NLM_F_CREATE | NLM_F_REPLACE), err,
		     "set the neighbour", address);
}
