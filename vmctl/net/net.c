#include "vmctl/net/net.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/net/address.h"
#include "vmctl/net/holder.h"
#include "vmctl/net/net_parts.h"
#include "vmctl/net/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATER_MS	10
#define EXPIRE_MS	5000
#define EXPIRE_AGAIN_MS 10
#define EXPIRE_MOST	1024 /* elements that go at once; then others have their turn */

void net_commit_soon(struct net *net)
{
	loop_timer_set(&net->loop, &net->commit, 0);
}

void net_commit_later(struct net *net)
{
	if (!net->commit.deadline_ns)
		loop_timer_set(&net->loop, &net->commit, LATER_MS);
}

void net_never(struct net *net, const char *range, bool six)
{
	hub_never(&net->hub, range, six);
	net->closed = net->commits;
	net_commit_soon(net);
}

void net_answer(struct net *net, struct peer *to, json_t *message, struct slot *slot)
{
	struct answer *answer = calloc(1, sizeof(*answer));

	if (!answer) {
		json_decref(message);
		return;
	}
	*answer = (struct answer){.to = to, .message = message, .slot = slot};
	list_add_before(&net->answers, &answer->link);
	net_commit_soon(net);
}

static bool is_due(const struct net *net, const struct answer *answer)
{
	return answer->to != &net->broker || helpers_are_told(net);
}

/* Rules that the kernel does not take leave it unknown what is in force: all slots end. */
static void on_commit(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, commit);
	struct answer *answer;
	struct error err;

	if (ruleset_pending(&net->hub.rules) && ruleset_commit(&net->hub.rules, &err) < 0) {
		fprintf(stderr, "vmctl: the sandboxes' network ends: %s\n", err.text);
		exit(EXIT_FAILURE);
	}
	net->commits++;
	list_for_each (answer, &net->answers, struct answer, link) {
		if (!is_due(net, answer))
			continue;
		list_del(&answer->link);
		peer_send(answer->to, answer->message,
			  answer->slot ? &answer->slot->made.tap : NULL,
			  answer->slot ? 1 : 0);
		free(answer);
	}
}

static void on_expire(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, expire);
	struct slot *slot;
	unsigned budget = EXPIRE_MOST;
	uint64_t next = 0;

	for (unsigned i = 0; i < NET_BUCKETS; i++)
		list_for_each (slot, &net->slots[i], struct slot, link)
			next |= known_expire(&slot->known, &net->hub.rules, &budget);
	if (ruleset_pending(&net->hub.rules))
		net_commit_soon(net);
	if (next)
		loop_timer_set(&net->loop, &net->expire,
			       budget ? EXPIRE_MS : EXPIRE_AGAIN_MS);
}

static void on_tell(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, tell);
	struct slot *slot;

	for (unsigned i = 0; i < NET_BUCKETS; i++)
		list_for_each (slot, &net->slots[i], struct slot, link)
			if (slot->records || slot->lost)
				records_tell(net, slot);
}

static void on_flows(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	flows_read(&container_of(source, struct net, flow_source)->flows);
}

/* It can be made only by who is in the host's namespaces: the broker starts all anew. */
static void on_guard_gone(struct loop_source *source, uint32_t revents)
{
	(void)source;
	(void)revents;
	fputs("vmctl: the sandboxes' network ends with its uplink\n", stderr);
	exit(EXIT_FAILURE);
}

static void on_broker_gone(struct peer *peer)
{
	loop_stop(&container_of(peer, struct net, broker)->loop);
}

/* An address of the host's own. It comes into force at once, or when the hub is ready. */
static void on_host_address(void *data, const char *address, bool six)
{
	net_never(data, address, six);
}

/*
 * While we are in the host's namespaces, its side of the uplink is made; then we go into
 * the hub's, where we have no privilege over the host's any more.
 */
static int enter_hub(struct net *net, enum uplink_kind want, const struct holder *holder,
		     struct error *err)
{
	if (host_addresses_open(&net->host, on_host_address, net, err) < 0)
		return err->code;
	uplink_open(&net->uplink, want, holder->pid, holder->netns);
	return holder_join(holder, err);
}

/* Furnish it. pasta looks for the holder until its link is there. */
static int open_hub(struct net *net, enum uplink_kind want, struct error *err)
{
	struct holder holder;
	int r = holder_start(&holder, err);

	if (r == 0)
		r = enter_hub(net, want, &holder, err);
	if (r == 0)
		r = hub_open(&net->hub, err);
	if (r == 0)
		r = host_addresses_read(&net->host, err);
	if (r == 0)
		r = ruleset_commit(&net->hub.rules, err);
	if (r == 0)
		r = uplink_join(&net->uplink, &net->hub.rt, err);
	holder_end(&holder);
	return r;
}

void net_init(struct net *net)
{
	for (unsigned i = 0; i < NET_BUCKETS; i++) {
		list_init(&net->members[i]);
		list_init(&net->slots[i]);
	}
	list_init(&net->ordered);
	list_init(&net->free);
	list_init(&net->waiting);
	list_init(&net->answers);
	loop_timer_init(&net->commit, on_commit);
	loop_timer_init(&net->expire, on_expire);
	loop_timer_init(&net->tell, on_tell);
	census_init(net);
	net->flow_source = net->guard_source = LOOP_SOURCE_NONE;
	net->dns = net->proxy = net->maker = (struct peer){.fd = -1};
	net->commits = 1;
}

static int watch(struct net *net, struct error *err)
{
	int r = flows_open(&net->flows, records_flow, net, err);

	if (r < 0)
		return r;
	r = loop_add(&net->loop, &net->flow_source, flows_fd(&net->flows), EPOLLIN,
		     on_flows);
	if (r == 0 && net->uplink.guard >= 0)
		r = loop_add(&net->loop, &net->guard_source, net->uplink.guard, EPOLLIN,
			     on_guard_gone);
	return r < 0 ? error_set(err, -r, "cannot watch the log of connections") : 0;
}

void net_say_uplink(struct net *net)
{
	char link[UPLINK_TEXT];

	uplink_print(&net->uplink, link);
	peer_send(&net->broker,
		  json_pack("{s:s, s:s, s:s, s:s}", "event", "uplink", "uplink",
			    uplink_name(net->uplink.kind), "uplink_why", net->uplink.why,
			    "link", link),
		  NULL, 0);
}

int net_run(struct net *net, enum uplink_kind want, struct error *err)
{
	struct error said;
	int r = loop_init(&net->loop, err);

	if (r == 0)
		r = peer_open(&net->broker, &net->loop, NET_BROKER_FD, orders_message,
			      on_broker_gone, err);
	if (r == 0 && helpers_start_dns(net, &said) < 0)
		fprintf(stderr, "vmctl: sandboxes resolve no names: %s\n", said.text);
	if (r == 0)
		r = open_hub(net, want, err);
	if (r == 0)
		r = watch(net, err);
	if (r == 0)
		r = host_addresses_watch(&net->host, &net->loop, err);
	if (r < 0)
		return r;
	if (helpers_start_proxy(net, &said) < 0)
		fprintf(stderr, "vmctl: sandboxes have no secrets: %s\n", said.text);
	rulebook_init(&net->book, &net->hub);
	r = pool_init(net, err);
	if (r < 0)
		return r;
	net_say_uplink(net);
	if (net->broker.fd < 0)
		return 0; /* it ended while we began */
	r = loop_run(&net->loop);
	return r < 0 ? error_set(err, -r, "cannot wait for events") : 0;
}
