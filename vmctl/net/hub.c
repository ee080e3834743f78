#include "vmctl/net/hub.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/net/address.h"
#include "vmctl/net/netns.h"
#include "wire/policy_range.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STRING(x)  STRING_(x)
#define STRING_(x) #x

#define LOG_GROUP " group " STRING(HUB_LOG_GROUP) " snaplen 64 queue-threshold 1\n"

/* Log once, or say that there was more. */
#define LOG_CHAIN(name, letter)                                                                  \
	" chain log_" name " {\n"                                                                \
	"  ct state != new return\n"                                                             \
	"  update @rate4 { ct original ip saddr limit rate over " STRING(                        \
	    HUB_LOG_RATE) "/second"                                                              \
			  " burst " STRING(                                                      \
			      HUB_LOG_BURST) " packets } goto lost\n"                            \
					     "  update @rate6 { ct original ip6 saddr "          \
					     "limit rate over " STRING(                          \
						 HUB_LOG_RATE) "/second"                         \
							       " burst " STRING(                 \
								   HUB_LOG_BURST) " packe"       \
										  "ts } "        \
										  "goto "        \
										  "lost\n"       \
										  "  log "       \
										  "prefix"       \
										  " "            \
										  "\"" letter    \
										  "\"" LOG_GROUP \
										  " }\n"

/* Deny, so that the guest's program is told at once. */
#define DENY_CHAIN(name, letter)                                                           \
	LOG_CHAIN(name, letter)                                                            \
	" chain no_" name " {\n"                                                           \
	"  jump log_" name "\n"                                                            \
	"  meta l4proto tcp reject with tcp reset\n"                                       \
	"  reject with icmpx admin-prohibited\n"                                           \
	" }\n"

#define OPENED_SET(name, version)                                                          \
	" set " name "_all" version " { type ipv" version "_addr . ipv" version            \
	"_addr; }\n"                                                                       \
	" set " name version " { type ipv" version "_addr . ipv" version                   \
	"_addr . inet_service; }\n"                                                        \
	" set " name "_wide" version " { type ipv" version "_addr . ipv" version           \
	"_addr . inet_service; flags interval; }\n"
#define OPENED_SETS(name) OPENED_SET(name, "4") OPENED_SET(name, "6")

static const char rules[] =
    "table inet hub {\n"
    " set never4 { type ipv4_addr; flags interval; auto-merge; }\n"
    " set never6 { type ipv6_addr; flags interval; auto-merge; }\n"
    " set closed4 { type ipv4_addr; flags interval; auto-merge; }\n"
    " set closed6 { type ipv6_addr; flags interval; auto-merge; }\n"
    " map slots4 { type ipv4_addr : verdict; }\n"
    " map slots6 { type ipv6_addr : verdict; }\n"
    " set rate4 { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 30s; }\n"
    " set rate6 { type ipv6_addr; size 65535; flags dynamic,timeout; timeout 30s; "
    "}\n" OPENED_SETS("open") OPENED_SETS("keep") " chain lost { numgen inc mod " STRING(
	HUB_LOG_SAMPLE) " 0 log prefix \"X\"" LOG_GROUP " }\n" LOG_CHAIN("allow", "A")
	DENY_CHAIN("never", "N") DENY_CHAIN("closed", "C") DENY_CHAIN("list", "L")
	    DENY_CHAIN(
		"off",
		"O") " chain forward {\n"
		     "  type filter hook forward priority filter; policy drop;\n"
		     "  ct state invalid drop\n"
		     "  iifname \"" NET_UPLINK "\" ct direction original drop\n"
		     "  meta l4proto tcp ct state new tcp flags & (fin|syn|rst|ack) != syn"
		     "  reject with tcp reset\n"
		     "  ct original ip saddr vmap @slots4\n"
		     "  ct original ip6 saddr vmap @slots6\n"
		     " }\n"
		     " chain input {\n"
		     "  type filter hook input priority filter; policy drop;\n"
		     "  iifname \"lo\" accept\n"
		     "  ct state established,related accept\n"
		     "  iifname \"" NET_UPLINK
		     "\" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
		     "  accept\n"
		     "  iifname \"" NET_UPLINK "\" drop\n"
		     "  ip daddr " NET_DNS_IP4
		     " meta l4proto { tcp, udp } th dport 53 accept\n"
		     "  ip daddr " NET_PROXY_IP4 " tcp dport 443 accept\n"
		     "  goto no_never\n"
		     " }\n"
		     " chain output {\n"
		     "  type filter hook output priority filter;\n"
		     "  ct state established,related accept\n"
		     "  oifname \"" NET_UPLINK
		     "\" ip daddr @never4 reject with icmpx admin-prohibited\n"
		     "  oifname \"" NET_UPLINK "\" ip6 daddr @never6 icmpv6 type != {"
		     "  nd-neighbor-solicit, nd-neighbor-advert } reject with icmpx "
		     "admin-prohibited\n"
		     " }\n"
		     " chain out {\n"
		     "  type nat hook postrouting priority srcnat;\n"
		     "  oifname \"" NET_UPLINK "\" masquerade\n"
		     " }\n"
		     "}\n";

void hub_never(struct hub *hub, const char *range, bool six)
{
	ruleset_add(&hub->rules, "add element inet hub never%c { %s }\n", six ? '6' : '4',
		    range);
}

static void add_closed(struct hub *hub)
{
	for (const struct policy_closed *each = policy_closed; each->text; each++)
		ruleset_add(&hub->rules, "add element inet hub %s%c { %s }\n",
			    each->for_good ? "never" : "closed",
			    strchr(each->text, ':') ? '6' : '4', each->text);
}

/* A socket of one of the hub's own services. */
static int bind_to(const char *ip4, uint16_t port, int type, struct error *err)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	cleanup_close int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int yes = 1;

	if (fd < 0 || inet_pton(AF_INET, ip4, &address.sin_addr) != 1 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    (type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0))
		return error_set(err, errno, "cannot serve %s:%u", ip4, port);
	return steal_fd(&fd);
}

static int bind_all(struct hub *hub, struct error *err)
{
	hub->dns_udp = bind_to(NET_DNS_IP4, 53, SOCK_DGRAM, err);
	if (hub->dns_udp >= 0)
		hub->dns_tcp = bind_to(NET_DNS_IP4, 53, SOCK_STREAM, err);
	if (hub->dns_tcp >= 0)
		hub->proxy_tcp = bind_to(NET_PROXY_IP4, 443, SOCK_STREAM, err);
	return hub->proxy_tcp < 0 ? err->code : 0;
}

static int set_links(struct hub *hub, struct error *err)
{
	int r = rt_up(&hub->rt, "lo", err);

	if (r == 0)
		r = rt_address(&hub->rt, "lo", NET_DNS_IP4 "/32", err);
	if (r == 0)
		r = rt_address(&hub->rt, "lo", NET_PROXY_IP4 "/32", err);
	return r < 0 ? r : rt_address(&hub->rt, "lo", NET_HUB_IP6 "/128", err);
}

int hub_open(struct hub *hub, struct error *err)
{
	int r;

	*hub = (struct hub){.dns_udp = -1, .dns_tcp = -1, .proxy_tcp = -1};
	r = hub->netns = netns_here(err);
	netns_quiet();
	if (r >= 0)
		r = netns_forward(err);
	if (r == 0)
		r = rt_open(&hub->rt, err);
	if (r == 0)
		r = ruleset_open(&hub->rules, err);
	if (r < 0)
		return r;
	ruleset_add(&hub->rules, "%s", rules);
	add_closed(hub);
	r = ruleset_commit(&hub->rules, err);
	netns_forget_soon();
	if (r == 0)
		r = set_links(hub, err);
	return r < 0 ? r : bind_all(hub, err);
}

void hub_close(struct hub *hub)
{
	int *fds[] = {&hub->dns_udp, &hub->dns_tcp, &hub->proxy_tcp, &hub->netns};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		io_close_all(fds[i], 1);
	ruleset_close(&hub->rules);
	rt_close(&hub->rt);
}
