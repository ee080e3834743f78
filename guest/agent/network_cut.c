/*
 * SOCK_DESTROY of sock_diag(7). Whether a connection leaves the machine is what the routes
 * say of its other end: an address of one's own, or of a network namespace or a bridge in
 * here, has another way than the network interface.
 */
#include "guest/agent/log.h"
#include "guest/agent/netlink.h"
#include "guest/agent/network.h"
#include "util/io.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>

/* What has no other end, and what is over, and has nobody. */
#define OTHER_STATES (1u << TCP_LISTEN | 1u << TCP_CLOSE | 1u << TCP_TIME_WAIT)

union answer {
	struct nlmsghdr header;
	uint8_t room[NETLINK_ANSWER];
};

/* It is all kept: a fork that finds no connections makes nothing anew, and so has the less
 * memory of its own. */
struct cut {
	int list_fd, end_fd, route_fd;
	unsigned device;
	union answer page, route;
};

static struct cut kept = {.list_fd = -1, .end_fd = -1, .route_fd = -1};

/* Return: the index of the interface in a route, 0 when it has none. */
static unsigned interface_of(const struct nlmsghdr *message)
{
	const struct rtmsg *info = NLMSG_DATA(message);
	const struct rtattr *at = RTM_RTA(info);
	size_t left = RTM_PAYLOAD(message);
	unsigned index = 0;

	for (; RTA_OK(at, left); at = RTA_NEXT(at, left))
		if (at->rta_type == RTA_OIF && RTA_PAYLOAD(at) == sizeof(index))
			memcpy(&index, RTA_DATA(at), sizeof(index));
	return index;
}

/* Where the route to the other end leads; an end without a route is not in here either. */
static bool leaves(struct cut *cut, const struct inet_diag_msg *connection)
{
	const struct in6_addr *peer = (const void *)connection->id.idiag_dst;
	bool mapped = connection->idiag_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(peer);
	bool v4 = mapped || connection->idiag_family == AF_INET;
	size_t len = v4 ? sizeof(struct in_addr) : sizeof(*peer);
	struct netlink_request request;
	struct rtmsg *info = netlink_begin(&request, RTM_GETROUTE, 0, sizeof(*info));
	const struct nlmsghdr *answer;

	info->rtm_family = v4 ? AF_INET : AF_INET6;
	info->rtm_dst_len = (unsigned char)(len * 8);
	netlink_put(&request, RTA_DST, mapped ? &peer->s6_addr[12] : peer->s6_addr, len);
	if (!cut->device)
		cut->device = if_nametoindex(NETWORK_DEVICE);
	if (connection->id.idiag_if)
		netlink_put(&request, RTA_OIF, &connection->id.idiag_if, sizeof(unsigned));
	answer = netlink_get(cut->route_fd, &request, &cut->route);
	return !answer || answer->nlmsg_type != RTM_NEWROUTE ||
	       interface_of(answer) == cut->device;
}

/* One that has just ended by itself cannot be ended, and need not be. */
static void end_connection(const struct cut *cut, const struct inet_diag_msg *connection)
{
	struct netlink_request request;
	struct inet_diag_req_v2 *end =
	    netlink_begin(&request, SOCK_DESTROY, 0, sizeof(*end));
	int r;

	end->sdiag_family = connection->idiag_family;
	end->sdiag_protocol = IPPROTO_TCP;
	end->id = connection->id;
	r = netlink_do(cut->end_fd, &request);
	if (r < 0 && r != -ENOENT && r != -EOPNOTSUPP)
		log_say("cannot reset a connection of the parent's: %s", strerror(-r));
}

static void look(void *ctx, const struct nlmsghdr *message)
{
	const struct inet_diag_msg *connection = NLMSG_DATA(message);

	if (message->nlmsg_type == SOCK_DIAG_BY_FAMILY &&
	    message->nlmsg_len >= NLMSG_LENGTH(sizeof(*connection)) &&
	    leaves(ctx, connection))
		end_connection(ctx, connection);
}

/* Return: 0 or -errno. */
static int cut_family(struct cut *cut, uint8_t family)
{
	struct netlink_request request;
	struct inet_diag_req_v2 *all =
	    netlink_begin(&request, SOCK_DIAG_BY_FAMILY, 0, sizeof(*all));
	int r;

	all->sdiag_family = family;
	all->sdiag_protocol = IPPROTO_TCP;
	all->idiag_states = ~OTHER_STATES;
	r = netlink_dump(cut->list_fd, &request, &cut->page, look, cut);
	if (r < 0)
		log_say("cannot list the connections of the parent: %s", strerror(-r));
	return r;
}

static void close_all(struct cut *cut)
{
	io_close_all(&cut->list_fd, 1);
	io_close_all(&cut->end_fd, 1);
	io_close_all(&cut->route_fd, 1);
}

/* Return: 0 or -errno. */
static int open_all(struct cut *cut)
{
	if (cut->list_fd < 0)
		cut->list_fd = netlink_open(NETLINK_SOCK_DIAG);
	if (cut->end_fd < 0)
		cut->end_fd = netlink_open(NETLINK_SOCK_DIAG);
	if (cut->route_fd < 0)
		cut->route_fd = netlink_open(NETLINK_ROUTE);
	return cut->list_fd < 0	   ? cut->list_fd
	       : cut->end_fd < 0   ? cut->end_fd
	       : cut->route_fd < 0 ? cut->route_fd
				   : 0;
}

void network_cut(void)
{
	int r = open_all(&kept), six;

	if (r < 0)
		log_say("cannot look for connections of the parent: %s", strerror(-r));
	kept.device = 0;
	if (r == 0) {
		r = cut_family(&kept, AF_INET);
		six = cut_family(&kept, AF_INET6);
		r = r ? r : six;
	}
	if (r < 0)
		close_all(&kept);
}
