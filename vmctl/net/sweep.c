#include "vmctl/net/sweep.h"

#include "vmctl/net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netlink/handlers.h>
#include <netlink/msg.h>
#include <netlink/netfilter/ct.h>
#include <netlink/netlink.h>
#include <string.h>

/* What is found in one look through all of them. */
struct found {
	bool (*used)(void *data, unsigned number);
	void *data;
	struct nfnl_ct *flows[SWEEP_MOST];
	int count;
};

/* The slot whose connection it is, or 0: it is the hub's own. */
static unsigned slot_of(const struct nfnl_ct *flow)
{
	struct nl_addr *source = nfnl_ct_get_src(flow, 0);
	uint32_t ip4;

	if (!source)
		return 0;
	if (nl_addr_get_len(source) != sizeof(ip4))
		return net_address_slot6(nl_addr_get_binary_addr(source));
	memcpy(&ip4, nl_addr_get_binary_addr(source), sizeof(ip4));
	return net_address_slot(ntohl(ip4));
}

static int on_flow(struct nl_msg *message, void *data)
{
	struct found *found = data;
	struct nfnl_ct *flow = NULL;
	unsigned number;

	if (found->count == SWEEP_MOST || nfnlmsg_ct_parse(nlmsg_hdr(message), &flow) < 0)
		return NL_SKIP;
	number = slot_of(flow);
	if (number && !found->used(found->data, number))
		found->flows[found->count++] = flow;
	else
		nfnl_ct_put(flow);
	return NL_OK;
}

/* The kernel says them one by one: only those that are to go are kept. */
static int look(struct nl_sock *sock, struct found *found)
{
	int r = nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, on_flow, found);

	if (r == 0)
		r = nfnl_ct_dump_request(sock);
	return r < 0 ? r : nl_recvmsgs_default(sock);
}

static int sweep_all(struct found *found)
{
	struct nl_sock *sock = nl_socket_alloc();
	int r = sock ? nl_connect(sock, NETLINK_NETFILTER) : -NLE_NOMEM;

	if (r == 0)
		r = look(sock, found);
	for (int i = 0; i < found->count; i++) {
		if (r >= 0)
			nfnl_ct_del(sock, found->flows[i], 0);
		nfnl_ct_put(found->flows[i]);
	}
	if (sock)
		nl_socket_free(sock);
	return r < 0 ? r : found->count;
}

int sweep(bool (*used)(void *data, unsigned number), void *data, struct error *err)
{
	struct found found = {.used = used, .data = data};
	int r = sweep_all(&found);

	return r < 0 ? error_say(err, EIO, "cannot look through connections: %s",
				 nl_geterror(r))
		     : r;
}
