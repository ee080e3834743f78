#include "vmctl/net/host_addresses.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/rtnl.h>
#include <sys/socket.h>

static const struct nlattr *local_of(struct nlmsghdr *header)
{
	/* With a peer, IFA_ADDRESS is the other end's. */
	const struct nlattr *local =
	    nlmsg_find_attr(header, sizeof(struct ifaddrmsg), IFA_LOCAL);

	return local ? local
		     : nlmsg_find_attr(header, sizeof(struct ifaddrmsg), IFA_ADDRESS);
}

static int on_message(struct nl_msg *message, void *data)
{
	const struct host_addresses *addresses = data;
	struct nlmsghdr *header = nlmsg_hdr(message);
	const struct ifaddrmsg *of = nlmsg_data(header);
	const struct nlattr *local;
	char text[INET6_ADDRSTRLEN];
	bool six;

	if (header->nlmsg_type != RTM_NEWADDR ||
	    !nlmsg_valid_hdr(header, sizeof(struct ifaddrmsg)))
		return NL_OK;
	local = local_of(header);
	six = of->ifa_family == AF_INET6;
	if (local && (six || of->ifa_family == AF_INET) &&
	    nla_len(local) ==
		(int)(six ? sizeof(struct in6_addr) : sizeof(struct in_addr)) &&
	    inet_ntop(of->ifa_family, nla_data(local), text, sizeof(text)))
		addresses->fn(addresses->data, text, six);
	return NL_OK;
}

int host_addresses_open(struct host_addresses *addresses,
			void (*fn)(void *data, const char *address, bool six), void *data,
			struct error *err)
{
	struct nl_sock *sock = nl_socket_alloc();
	int r = sock ? 0 : -NLE_NOMEM;

	*addresses = (struct host_addresses){
	    .sock = sock, .source = LOOP_SOURCE_NONE, .fn = fn, .data = data};
	if (r == 0)
		r = nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, on_message,
					addresses);
	if (r == 0)
		r = nl_connect(sock, NETLINK_ROUTE);
	if (r == 0)
		r = nl_socket_add_memberships(sock, RTNLGRP_IPV4_IFADDR,
					      RTNLGRP_IPV6_IFADDR, 0);
	if (r == 0)
		nl_socket_disable_seq_check(sock);
	return r == 0 ? 0
		      : error_say(err, EIO, "cannot watch the host's addresses: %s",
				  nl_geterror(r));
}

static int ask(struct host_addresses *addresses)
{
	return nl_rtgen_request(addresses->sock, RTM_GETADDR, AF_UNSPEC, NLM_F_DUMP);
}

int host_addresses_read(struct host_addresses *addresses, struct error *err)
{
	int r = ask(addresses);

	if (r >= 0)
		r = nl_recvmsgs_default(addresses->sock);
	return r >= 0 ? 0
		      : error_say(err, EIO, "cannot read the host's addresses: %s",
				  nl_geterror(r));
}

static void on_ready(struct loop_source *source, uint32_t revents)
{
	struct host_addresses *addresses =
	    container_of(source, struct host_addresses, source);
	int r = nl_recvmsgs_default(addresses->sock);

	(void)revents;
	if (r < 0 && r != -NLE_AGAIN && r != -NLE_INTR)
		ask(addresses);
}

int host_addresses_watch(struct host_addresses *addresses, struct loop *loop,
			 struct error *err)
{
	int r = nl_socket_set_nonblocking(addresses->sock) < 0 ? -EIO : 0;

	if (r == 0)
		r = loop_add(loop, &addresses->source, nl_socket_get_fd(addresses->sock),
			     EPOLLIN, on_ready);
	return r < 0 ? error_set(err, -r, "cannot watch the host's addresses") : 0;
}
