#include "vmctl/dns/dns.h"

#include "util/cleanup.h"
#include "vmctl/dns/port.h"
#include "vmctl/dns/query.h"
#include "vmctl/names/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool dns_take_flight(struct dns *dns, struct dns_slot *slot)
{
	slot->in_flight++;
	dns->in_flight++;
	return slot->in_flight <= DNS_IN_FLIGHT && dns->in_flight <= DNS_IN_FLIGHT_ALL;
}

void dns_land(struct dns *dns, struct dns_slot *slot)
{
	slot->in_flight--;
	dns->in_flight--;
}

static void hear_listen(struct dns *dns, int fds[NET_CHANNEL_FDS])
{
	if (dns->udp.fd < 0 && fds[0] >= 0 && udp_listen(dns, fds[0]) == 0)
		steal_fd(&fds[0]);
	if (dns->tcp.fd < 0 && fds[1] >= 0 && tcp_listen(dns, fds[1]) == 0)
		steal_fd(&fds[1]);
}

static void drop(struct dns *dns, struct dns_slot *slot)
{
	query_drop(slot);
	tcp_drop(slot);
	resolve_drop(slot);
	slots_drop(&dns->slots, &slot->slot);
}

/* Without a policy that can be read a slot is none, so that nothing is let through. */
static void hear_policy(struct dns *dns, const json_t *message)
{
	struct slot *before = slots_of_message(&dns->slots, message);
	struct error err = {0};
	struct slot *slot = slots_set(&dns->slots, message, &err);
	struct dns_slot *ours;

	if (!slot) {
		fprintf(stderr, "vmctl dns: a policy is not in force: %s\n", err.text);
		if (before)
			drop(dns, container_of(before, struct dns_slot, slot));
		return;
	}
	ours = container_of(slot, struct dns_slot, slot);
	if (before)
		return;
	list_init(&ours->queries);
	list_init(&ours->resolves);
	list_init(&ours->connections);
}

static void hear(struct net_channel *channel, const json_t *message,
		 int fds[NET_CHANNEL_FDS])
{
	struct dns *dns = container_of(channel, struct dns, channel);
	const char *op = json_string_value(json_object_get(message, "op"));
	struct slot *slot = slots_of_message(&dns->slots, message);

	if (!op)
		query_opened(dns,
			     (uint32_t)json_integer_value(json_object_get(message, "seq")));
	else if (strcmp(op, "listen") == 0)
		hear_listen(dns, fds);
	else if (strcmp(op, "upstream") == 0)
		upstreams_name(&dns->upstreams, json_object_get(message, "dns"));
	else if (strcmp(op, "policy") == 0)
		hear_policy(dns, message);
	else if (strcmp(op, "drop") == 0 && slot)
		drop(dns, container_of(slot, struct dns_slot, slot));
	else if (strcmp(op, "resolve") == 0)
		resolve_begin(dns, message);
}

/* Without `vmctl net` there is nothing to serve. */
static void ended(struct net_channel *channel)
{
	loop_stop(channel->loop);
}

int dns_open(struct dns *dns, int fd, struct error *err)
{
	dns->slots.size = sizeof(struct dns_slot);
	dns->udp.fd = dns->tcp.fd = -1;
	dns->channel.heard = hear;
	dns->channel.ended = ended;
	list_init(&dns->opening);
	denied_init(dns);
	if (loop_init(&dns->loop, err) < 0)
		return err->code;
	return net_channel_open(&dns->channel, &dns->loop, fd, err);
}

int dns_main(int argc, char **argv)
{
	static struct dns dns;
	struct error err;

	(void)argc;
	(void)argv;
	if (dns_open(&dns, NAMES_CHANNEL_FD, &err) < 0 ||
	    upstreams_watch(&dns.upstreams, &dns.loop, &err) < 0 ||
	    port_confine(UPSTREAM_PORT, &err) < 0 ||
	    names_jail("vmctl dns", JAIL_ROOT_EMPTY, JAIL_CALLS_DNS, &err) < 0) {
		fprintf(stderr, "vmctl dns: %s\n", err.text);
		return EXIT_FAILURE;
	}
	return loop_run(&dns.loop) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
