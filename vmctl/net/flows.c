#include "vmctl/net/flows.h"

#include "vmctl/net/address.h"
#include "vmctl/net/hub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netlink/msg.h>
#include <netlink/netfilter/log.h>
#include <netlink/netfilter/log_msg.h>
#include <netlink/netlink.h>
#include <string.h>

#define BUFFER_BYTES (1 << 20)
#define COPY_BYTES   64
#define FLUSH_CS     5	 /* hundredths of a second that a message may wait in the kernel */
#define TURN	     256 /* messages read at once */

/* Of TCP and UDP the port comes third and fourth. */
static void take_port(const uint8_t *payload, size_t len, struct flow *flow)
{
	if ((flow->protocol == IPPROTO_TCP || flow->protocol == IPPROTO_UDP) && len >= 4)
		flow->port = (uint16_t)(payload[2] << 8 | payload[3]);
}

static bool parse_ip4(const uint8_t *packet, size_t len, struct flow *flow)
{
	struct iphdr ip;
	size_t header;

	if (len < sizeof(ip))
		return false;
	memcpy(&ip, packet, sizeof(ip));
	header = (size_t)ip.ihl * 4;
	if (header < sizeof(ip) || header > len)
		return false;
	flow->slot = net_address_slot(ntohl(ip.saddr));
	flow->protocol = ip.protocol;
	flow->address = policy_range_of(&ip.daddr, false);
	take_port(packet + header, len - header, flow);
	return flow->slot != 0;
}

static bool parse_ip6(const uint8_t *packet, size_t len, struct flow *flow)
{
	struct ip6_hdr ip;

	if (len < sizeof(ip))
		return false;
	memcpy(&ip, packet, sizeof(ip));
	flow->slot = net_address_slot6(ip.ip6_src.s6_addr);
	flow->protocol = ip.ip6_nxt;
	flow->address = policy_range_of(&ip.ip6_dst, true);
	take_port(packet + sizeof(ip), len - sizeof(ip), flow);
	return flow->slot != 0;
}

bool flow_parse(const void *packet, size_t len, struct flow *flow)
{
	const uint8_t *bytes = packet;

	*flow = (struct flow){0};
	if (len < 1)
		return false;
	if (bytes[0] >> 4 == 4)
		return parse_ip4(bytes, len, flow);
	return bytes[0] >> 4 == 6 && parse_ip6(bytes, len, flow);
}

static int on_message(struct nl_msg *message, void *data)
{
	struct flows *flows = data;
	struct nfnl_log_msg *log = NULL;
	struct flow flow;
	const void *packet;
	const char *prefix;
	int len = 0;

	if (nfnlmsg_log_msg_parse(nlmsg_hdr(message), &log) < 0)
		return NL_SKIP;
	packet = nfnl_log_msg_get_payload(log, &len);
	prefix = nfnl_log_msg_get_prefix(log);
	if (packet && len > 0 && prefix && flow_parse(packet, (size_t)len, &flow)) {
		flow.verdict = prefix[0];
		flows->fn(flows->data, &flow);
	}
	nfnl_log_msg_put(log);
	return NL_OK;
}

static int bind_group(struct nl_sock *sock)
{
	struct nfnl_log *log = nfnl_log_alloc();
	int r;

	if (!log)
		return -NLE_NOMEM;
	nfnl_log_set_group(log, HUB_LOG_GROUP);
	nfnl_log_set_copy_mode(log, NFNL_LOG_COPY_PACKET);
	nfnl_log_set_copy_range(log, COPY_BYTES);
	nfnl_log_set_flush_timeout(log, FLUSH_CS);
	r = nfnl_log_create(sock, log);
	nfnl_log_put(log);
	return r;
}

int flows_open(struct flows *flows, void (*fn)(void *data, const struct flow *flow),
	       void *data, struct error *err)
{
	int r;

	*flows = (struct flows){.sock = nl_socket_alloc(), .fn = fn, .data = data};
	if (!flows->sock)
		return error_set(err, ENOMEM, "cannot read the log of connections");
	nl_socket_disable_seq_check(flows->sock);
	nl_socket_modify_cb(flows->sock, NL_CB_VALID, NL_CB_CUSTOM, on_message, flows);
	r = nl_connect(flows->sock, NETLINK_NETFILTER);
	if (r == 0)
		r = bind_group(flows->sock);
	if (r == 0)
		r = nl_socket_set_nonblocking(flows->sock);
	nl_socket_set_buffer_size(flows->sock, BUFFER_BYTES, 0);
	if (r == 0)
		return 0;
	flows_close(flows);
	return error_say(err, EIO, "cannot read the log of connections: %s",
			 nl_geterror(r));
}

int flows_fd(const struct flows *flows)
{
	return nl_socket_get_fd(flows->sock);
}

void flows_read(struct flows *flows)
{
	for (int i = 0; i < TURN && nl_recvmsgs_default(flows->sock) == 0; i++)
		;
}

void flows_close(struct flows *flows)
{
	if (flows->sock)
		nl_socket_free(flows->sock);
	flows->sock = NULL;
}
