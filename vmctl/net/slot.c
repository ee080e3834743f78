#include "vmctl/net/slot.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/net/address.h"
#include "vmctl/net/netns.h"
#include "vmctl/net/ruleset.h"
#include "vmctl/net/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define STRING(x)    STRING_(x)
#define STRING_(x)   #x
#define IP6_FRAGMENT "44" /* its name takes /etc/protocols */

/*
 * A tag of a VLAN is another ether type than those that are let in. IPv6 has its
 * protocol right behind the header, or is a fragment, which conntrack looks into again.
 */
static const char frames[] =
    "table netdev guest {\n"
    " chain in {\n"
    "  type filter hook ingress device \"" NET_TAP "\" priority -500; policy drop;\n"
    "  ether saddr != " NET_GUEST_MAC " drop\n"
    "  ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4"
    "  arp saddr ether " NET_GUEST_MAC " arp saddr ip " NET_GUEST_IP4
    "  arp daddr ip " NET_GATEWAY_IP4 " accept\n"
    "  ether type ip ether daddr " NET_GATEWAY_MAC " ip saddr " NET_GUEST_IP4 " accept\n"
    "  ether type ip6 ip6 saddr { " NET_GUEST_IP6 ", " NET_GUEST_LOCAL " }"
    "  ip6 nexthdr icmpv6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
    "  ip6 hoplimit 255 accept\n"
    "  ether type ip6 ether daddr " NET_GATEWAY_MAC " ip6 saddr " NET_GUEST_IP6
    "  ip6 nexthdr { tcp, udp, icmpv6, " IP6_FRAGMENT " } accept\n"
    " }\n"
    "}\n";

static const char packets[] =
    "table inet slot {\n"
    " chain forward {\n"
    "  type filter hook forward priority filter; policy drop;\n"
    "  ct state established,related accept\n"
    "  iifname != \"" NET_TAP "\" drop\n"
    "  exthdr frag exists drop\n"
    "  meta l4proto tcp ct state new,invalid tcp flags & (fin|syn|rst|ack) != syn"
    "  reject with tcp reset\n"
    "  meta l4proto icmp icmp type != echo-request drop\n"
    "  meta l4proto icmpv6 icmpv6 type != echo-request drop\n"
    "  ct state != new drop\n"
    "  limit rate over " STRING(SLOT_NEW_RATE) "/second burst " STRING(
	SLOT_FLOWS_MAX) " packets drop\n"
			"  ct count over " STRING(
			    SLOT_FLOWS_MAX) " drop\n"
					    "  accept\n"
					    " }\n"
					    " chain input {\n"
					    "  type filter hook input priority filter; "
					    "policy drop;\n"
					    "  iifname != \"" NET_TAP "\" drop\n"
					    "  icmp type echo-request accept\n"
					    "  icmpv6 type { echo-request, "
					    "nd-neighbor-solicit, nd-neighbor-advert } "
					    "accept\n"
					    "  meta l4proto tcp reject with tcp reset\n"
					    "  reject with icmpx admin-prohibited\n"
					    " }\n"
					    " chain say {\n"
					    "  type filter hook output priority filter;\n"
					    "  oifname \"" NET_TAP
					    "\" icmpv6 type { mld-listener-report, "
					    "mld2-listener-report } drop\n"
					    " }\n"
					    " chain out {\n"
					    "  type nat hook postrouting priority srcnat;\n"
					    "  oifname \"" NET_UPLINK
					    "\" meta nfproto ipv4 snat ip to %s\n"
					    "  oifname \"" NET_UPLINK
					    "\" meta nfproto ipv6 snat ip6 to %s\n"
					    " }\n"
					    "}\n";

/* Its last descriptor ends the namespace, not the tap before that: the kernel ends the
 * links of many namespaces together, waiting once, but each of these taps by itself. */
static int make_tap(struct error *err)
{
	struct ifreq request = {.ifr_name = NET_TAP,
				.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int header = SLOT_TAP_HEADER;
	cleanup_close int fd = tun_open(err);

	if (fd < 0)
		return fd;
	if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
	    ioctl(fd, TUNSETPERSIST, 1) < 0)
		return error_set(err, errno, "cannot make a tap");
	return steal_fd(&fd);
}

static int rule(const struct net_address *address, struct error *err)
{
	cleanup_ruleset struct ruleset ruleset = {0};
	int r = ruleset_open(&ruleset, err);

	if (r < 0)
		return r;
	ruleset_add(&ruleset, "%s", frames);
	ruleset_add(&ruleset, packets, address->ip4, address->ip6);
	return ruleset_commit(&ruleset, err);
}

/* What the tap's side of the slot has. */
static int set_guest_side(struct rt *rt, struct error *err)
{
	int r = rt_mac(rt, NET_TAP, NET_GATEWAY_MAC, err);

	if (r == 0)
		r = rt_up(rt, NET_TAP, err);
	if (r == 0)
		r = rt_address(rt, NET_TAP, NET_GATEWAY_IP4 "/30", err);
	if (r == 0)
		r = rt_neighbour(rt, NET_TAP, NET_GUEST_IP4, NET_GUEST_MAC, err);
	if (r == 0)
		r = rt_address(rt, NET_TAP, NET_GATEWAY_IP6 "/64", err);
	return r < 0 ? r : rt_neighbour(rt, NET_TAP, NET_GUEST_IP6, NET_GUEST_MAC, err);
}

/* One address family's way to the hub, which is the one neighbour. */
static int set_way(struct rt *rt, const char *own, const char *hub, const char *all,
		   struct error *err)
{
	char hub_alone[NET_ADDRESS_TEXT + 4];
	int r = rt_address(rt, NET_UPLINK, own, err);

	snprintf(hub_alone, sizeof(hub_alone), "%s", hub);
	if (r == 0)
		r = rt_route(rt, hub_alone, NULL, NET_UPLINK, err);
	if (r == 0)
		r = rt_neighbour(rt, NET_UPLINK, hub, NET_HUB_MAC, err);
	return r < 0 ? r : rt_route(rt, all, hub, NET_UPLINK, err);
}

static int set_hub_side(struct rt *rt, const struct net_address *address, int hub_fd,
			struct error *err)
{
	int r =
	    rt_veth(rt, NET_UPLINK, NET_SLOT_MAC, address->link, NET_HUB_MAC, hub_fd, err);

	if (r == 0)
		r = rt_up(rt, NET_UPLINK, err);
	if (r == 0)
		r = set_way(rt, address->ip4, NET_DNS_IP4, "default4", err);
	return r < 0 ? r : set_way(rt, address->ip6, NET_HUB_IP6, "default6", err);
}

/* In the slot's namespace, where nothing is yet. */
static int furnish(const struct net_address *address, int hub_fd, struct rt *rt,
		   struct slot_made *made, struct error *err)
{
	int r = rt_open(rt, err);

	netns_quiet();
	if (r == 0)
		r = netns_forward(err);
	if (r == 0)
		r = made->tap = make_tap(err);
	if (r >= 0)
		r = rule(address, err);
	netns_forget_soon();
	if (r == 0)
		r = set_guest_side(rt, err);
	return r < 0 ? r : set_hub_side(rt, address, hub_fd, err);
}

/* In the hub: the slot is at the end of its link. */
static int join(const struct net_address *address, struct rt *hub, struct error *err)
{
	int r = rt_up(hub, address->link, err);

	if (r == 0)
		r = rt_route(hub, address->ip4, NULL, address->link, err);
	if (r == 0)
		r = rt_neighbour(hub, address->link, address->ip4, NET_SLOT_MAC, err);
	if (r == 0)
		r = rt_route(hub, address->ip6, NULL, address->link, err);
	return r < 0 ? r
		     : rt_neighbour(hub, address->link, address->ip6, NET_SLOT_MAC, err);
}

int slot_make(unsigned number, int hub_fd, struct rt *hub, struct slot_made *made,
	      struct error *err)
{
	struct net_address address = net_address_of(number);
	cleanup_rt struct rt rt = {0}; /* the slot's links, wherever the thread is */
	struct error ignored;
	int r;

	*made = (struct slot_made){.tap = -1};
	r = netns_new(err);
	if (r < 0)
		return r;
	r = furnish(&address, hub_fd, &rt, made, err);
	if (netns_enter(hub_fd, r < 0 ? &ignored : err) < 0)
		abort(); /* nothing can be done rightly in a slot's namespace */
	if (r == 0)
		r = join(&address, hub, err);
	if (r < 0) {
		slot_destroy(made);
		return r;
	}
	rt_wait(hub, address.link);
	rt_wait(&rt, NET_UPLINK);
	return 0;
}

void slot_destroy(struct slot_made *made)
{
	io_close_all(&made->tap, 1);
}
