#include "vmctl/proxy/proxy.h"

#include "util/cleanup.h"
#include "vmctl/names/names.h"
#include "vmctl/proxy/exchange.h"
#include "vmctl/proxy/visit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool proxy_may(const struct slot *slot, const char *domain)
{
	const struct policy *policy = slot->policy;
	struct policy_entry entry = {
	    .kind = POLICY_NAME, .ports = {{PROXY_PORT, PROXY_PORT}}, .port_count = 1};

	strcpy(entry.name, domain);
	return policy_has_secret(policy, domain) &&
	       (policy->egress == POLICY_ON ||
		(policy->egress == POLICY_ALLOW && policy_covers(policy, &entry)));
}

static void complain(const struct error *err)
{
	fprintf(stderr, "vmctl proxy: %s\n", err->text);
}

static void hear_listen(struct proxy *proxy, int fds[NET_CHANNEL_FDS])
{
	struct error err;

	if (fds[0] >= 0 && !proxy->daemon &&
	    server_open(proxy, steal_fd(&fds[0]), &err) < 0)
		complain(&err);
}

static void hear_ca(struct proxy *proxy, const json_t *message)
{
	const char *certificate = json_string_value(json_object_get(message, "cert")),
		   *key = json_string_value(json_object_get(message, "key"));
	struct error err;

	if (certificate && key && leaves_ca(&proxy->leaves, certificate, key, &err) < 0)
		complain(&err);
}

static void drop(struct proxy *proxy, struct slot *slot)
{
	visits_drop(container_of(slot, struct proxy_slot, slot));
	slots_drop(&proxy->slots, slot);
}

/* Without a policy that can be read a slot is none, so that nothing is let through. */
static void hear_policy(struct proxy *proxy, const json_t *message)
{
	struct slot *before = slots_of_message(&proxy->slots, message);
	struct error err;
	struct slot *slot = slots_set(&proxy->slots, message, &err);
	struct proxy_slot *ours;

	if (!slot) {
		complain(&err);
		if (before)
			drop(proxy, before);
		return;
	}
	ours = container_of(slot, struct proxy_slot, slot);
	if (before)
		visits_check(ours);
	else
		list_init(&ours->visits);
}

static void hear(struct net_channel *channel, const json_t *message,
		 int fds[NET_CHANNEL_FDS])
{
	struct proxy *proxy = container_of(channel, struct proxy, channel);
	const char *op = json_string_value(json_object_get(message, "op"));
	struct slot *slot = slots_of_message(&proxy->slots, message);

	if (!op)
		exchange_resolved(
		    proxy, (uint32_t)json_integer_value(json_object_get(message, "seq")),
		    message);
	else if (strcmp(op, "listen") == 0)
		hear_listen(proxy, fds);
	else if (strcmp(op, "ca") == 0)
		hear_ca(proxy, message);
	else if (strcmp(op, "policy") == 0)
		hear_policy(proxy, message);
	else if (strcmp(op, "drop") == 0 && slot)
		drop(proxy, slot);
}

/* Without `vmctl net` there is nothing to serve. */
static void ended(struct net_channel *channel)
{
	loop_stop(channel->loop);
}

int proxy_open(struct proxy *proxy, int fd, struct error *err)
{
	proxy->slots.size = sizeof(struct proxy_slot);
	proxy->channel.heard = hear;
	proxy->channel.ended = ended;
	list_init(&proxy->resolving);
	if (multi_open(proxy) < 0)
		return error_set(err, ENOMEM, "cannot begin");
	if (leaves_init(&proxy->leaves, err) < 0 || loop_init(&proxy->loop, err) < 0)
		return err->code;
	return net_channel_open(&proxy->channel, &proxy->loop, fd, err);
}

int proxy_main(int argc, char **argv)
{
	static struct proxy proxy;
	struct error err;

	(void)argc;
	(void)argv;
	if (proxy_open(&proxy, NAMES_CHANNEL_FD, &err) < 0) {
		complain(&err);
		return EXIT_FAILURE;
	}
	proxy.trust = trust_load(&err);
	if (!proxy.trust)
		complain(&err);
	if (names_jail("vmctl proxy", JAIL_ROOT_EMPTY, JAIL_CALLS_PROXY, &err) < 0) {
		complain(&err);
		return EXIT_FAILURE;
	}
	return loop_run(&proxy.loop) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
