#include "pffs/core/net/net_host.h"

#include "pffs/core/core.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

/* That of another pffs that uses this state directory is this one's, too: vmctl, which they
 * may share, has one. Without any there is a network all the same, but for secrets. */
static void open_ca(struct core *core)
{
	struct ca *ca = &core->net.ca;
	bool only = core->state_fd >= 0;
	struct error err;
	int r = ca_open(ca, core->options.state, only, &err);

	if (r < 0 && !only) {
		ca_fini(ca);
		r = ca_open(ca, NULL, false, &err);
	}
	if (r == 0)
		return;
	core->error = err;
	ca_fini(ca);
}

int net_host_init(struct core *core, struct error *err)
{
	struct net_host *host = &core->net;

	host->fallback = policy_new();
	host->off = policy_new();
	if (!host->fallback || !host->off)
		return error_set(err, ENOMEM, "cannot start");
	host->fallback->egress =
	    (enum policy_egress)core->options.config.number[CONFIG_EGRESS];
	host->off->egress = POLICY_OFF;
	open_ca(core);
	return 0;
}

void net_host_fini(struct core *core)
{
	policy_unref(core->net.fallback);
	policy_unref(core->net.off);
	ca_fini(&core->net.ca);
	core->net.fallback = core->net.off = NULL;
}

int net_host_add_dns(struct net_options *options, const char *address, struct error *err)
{
	uint8_t parsed[sizeof(struct in6_addr)];
	size_t count = 0;

	while (options->dns[count])
		count++;
	if (inet_pton(AF_INET, address, parsed) != 1 &&
	    inet_pton(AF_INET6, address, parsed) != 1)
		return error_say(err, EINVAL, "\"%.60s\" is not the address of a resolver",
				 address);
	if (count == NET_DNS_MAX)
		return error_say(err, EINVAL, "there can be %d resolvers", NET_DNS_MAX);
	options->dns[count] = address;
	return 0;
}

/* The emulated host sees an outside in which this machine is one of many. */
static void add_address(json_t *list, const struct sockaddr *address)
{
	const struct sockaddr_in *four = (const void *)address;
	const struct sockaddr_in6 *six = (const void *)address;
	char text[INET6_ADDRSTRLEN];

	if (address && address->sa_family == AF_INET)
		inet_ntop(AF_INET, &four->sin_addr, text, sizeof(text));
	else if (address && address->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof(text));
	else
		return;
	json_array_append_new(list, json_string(text));
}

/* Return: the addresses of this machine, new. */
static json_t *own_addresses(void)
{
	json_t *list = json_array();
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return list;
	for (const struct ifaddrs *at = all; at; at = at->ifa_next)
		add_address(list, at->ifa_addr);
	freeifaddrs(all);
	return list;
}

/* Return: the resolvers that were given, new; NULL: those of the host. */
static json_t *resolvers(const struct net_options *options)
{
	json_t *list = options->dns[0] ? json_array() : NULL;

	for (size_t i = 0; options->dns[i]; i++)
		json_array_append_new(list, json_string(options->dns[i]));
	return list;
}

const char *net_uplink(const struct core *core)
{
	return core->net.uplink[0] ? core->net.uplink : "none";
}

void net_host_greet(struct core *core)
{
	const struct ca *ca = &core->net.ca;
	json_t *told =
	    ca->key ? json_pack("{s:s, s:s}", "cert", ca->certificate, "key", ca->key)
		    : NULL;

	vmm_request(&core->vmm,
		    json_pack("{s:s, s:o*, s:o*, s:o}", "op", "network", "dns",
			      resolvers(&core->options.net), "ca", told, "closed",
			      own_addresses()),
		    NULL, NULL);
}

void net_host_heard(struct core *core, const json_t *said)
{
	const char *uplink = json_string_value(json_object_get(said, "uplink"));
	const char *why = json_string_value(json_object_get(said, "uplink_why"));

	snprintf(core->net.uplink, sizeof(core->net.uplink), "%s", uplink ? uplink : "");
	snprintf(core->net.why, sizeof(core->net.why), "%s", why ? why : "");
}
