#include "guest/agent/network.h"

#include "guest/agent/log.h"
#include "guest/agent/netlink.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#define IPV6_SETTINGS "/proc/sys/net/ipv6/conf/" NETWORK_DEVICE "/"

struct address {
	unsigned char family;
	const char *own, *gateway;
	unsigned char prefix;
};

static const struct address addresses[] = {
    {AF_INET, "198.18.0.2", "198.18.0.1", 30},
    {AF_INET6, "fd70:6666:7300::2", "fd70:6666:7300::1", 64},
};

static const unsigned char gateway_mac[] = {0x02, 0x70, 0x66, 0x66, 0x73, 0x01};

/* The value of @text in the kernel's form. Return: its length. */
static size_t parse(const struct address *address, const char *text, void *to)
{
	inet_pton(address->family, text, to);
	return address->family == AF_INET ? sizeof(struct in_addr)
					  : sizeof(struct in6_addr);
}

static void put_address(struct netlink_request *request, uint16_t type,
			const struct address *address, const char *text)
{
	uint8_t value[sizeof(struct in6_addr)];

	netlink_put(request, type, value, parse(address, text, value));
}

static int link_up(int fd, unsigned index)
{
	struct netlink_request request;
	struct ifinfomsg *info = netlink_begin(&request, RTM_NEWLINK, 0, sizeof(*info));

	info->ifi_index = (int)index;
	info->ifi_flags = info->ifi_change = IFF_UP;
	return netlink_do(fd, &request);
}

/* Nobody else can have it, so that it need not be asked for. */
static int add_address(int fd, unsigned index, const struct address *address)
{
	struct netlink_request request;
	struct ifaddrmsg *info =
	    netlink_begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*info));

	info->ifa_family = address->family;
	info->ifa_prefixlen = address->prefix;
	info->ifa_flags = IFA_F_NODAD;
	info->ifa_index = index;
	put_address(&request, IFA_LOCAL, address, address->own);
	put_address(&request, IFA_ADDRESS, address, address->own);
	return netlink_do(fd, &request);
}

static int add_gateway(int fd, unsigned index, const struct address *address)
{
	struct netlink_request request;
	struct ndmsg *info = netlink_begin(&request, RTM_NEWNEIGH,
					   NLM_F_CREATE | NLM_F_REPLACE, sizeof(*info));

	info->ndm_family = address->family;
	info->ndm_ifindex = (int)index;
	info->ndm_state = NUD_PERMANENT;
	put_address(&request, NDA_DST, address, address->gateway);
	netlink_put(&request, NDA_LLADDR, gateway_mac, sizeof(gateway_mac));
	return netlink_do(fd, &request);
}

static int add_route(int fd, unsigned index, const struct address *address)
{
	struct netlink_request request;
	struct rtmsg *info =
	    netlink_begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*info));

	info->rtm_family = address->family;
	info->rtm_table = RT_TABLE_MAIN;
	info->rtm_protocol = RTPROT_BOOT;
	info->rtm_scope = RT_SCOPE_UNIVERSE;
	info->rtm_type = RTN_UNICAST;
	put_address(&request, RTA_GATEWAY, address, address->gateway);
	netlink_put(&request, RTA_OIF, &index, sizeof(index));
	return netlink_do(fd, &request);
}

static int add_all(int fd, unsigned index, const struct address *address)
{
	int r = add_address(fd, index, address);

	if (r == 0)
		r = add_gateway(fd, index, address);
	return r ? r : add_route(fd, index, address);
}

/* What the interface would otherwise find out, or ask for, by itself. */
static void quieten(void)
{
	static const char *const settings[][2] = {
	    {IPV6_SETTINGS "accept_ra", "0"},
	    {IPV6_SETTINGS "autoconf", "0"},
	    {IPV6_SETTINGS "router_solicitations", "0"},
	    {IPV6_SETTINGS "addr_gen_mode", "1"}, /* no link-local address */
	    /* That the address is in its group is reported twice, within so many ms: while
	     * the machine boots, and not by its first forks. */
	    {IPV6_SETTINGS "mldv2_unsolicited_report_interval", "1"},
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		cleanup_close int fd = open(settings[i][0], O_WRONLY | O_CLOEXEC);

		if (fd < 0 || io_write_all(fd, settings[i][1], strlen(settings[i][1])) < 0)
			log_say("cannot set %s", settings[i][0]);
	}
}

static void say_unless_done(int r, const char *what)
{
	if (r < 0)
		log_say("cannot %s: %s", what, strerror(-r));
}

void network_up(void)
{
	cleanup_close int fd = netlink_open(NETLINK_ROUTE);
	unsigned index = if_nametoindex(NETWORK_DEVICE);

	say_unless_done(link_up(fd, if_nametoindex("lo")), "bring the loopback up");
	if (!index) {
		log_say("there is no network interface " NETWORK_DEVICE);
		return;
	}
	quieten();
	say_unless_done(link_up(fd, index), "bring " NETWORK_DEVICE " up");
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		say_unless_done(add_all(fd, index, &addresses[i]),
				"set the addresses of " NETWORK_DEVICE);
}
