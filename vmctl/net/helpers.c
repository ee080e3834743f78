/*
 * The programs `dns` and `proxy` (vmctl/names/): started, told of slots, and heard.
 *
 * `dns` is in the host's network namespace, since it asks the host's resolvers, and `proxy`
 * in the hub's. What they say is checked as if a guest said it.
 */
#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/net/address.h"
#include "vmctl/net/net_parts.h"
#include "vmctl/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES	      "vmctl-names"
#define TTL_MAX	      86400
#define TTL_MIN	      5	  /* an answer takes a while to be used */
#define ADDRESSES_MAX 128 /* DNS_ADDRESSES_MAX */
#define COUNT_MAX     1000000

/* Opened when `dns` is started: who we become then may not get to it by its path. */
static int program = -1;

static struct slot *slot_in(struct net *net, const json_t *message)
{
	json_int_t number = json_integer_value(json_object_get(message, "slot"));

	return number > 0 && number <= NET_SLOT_MAX ? net_slot(net, (unsigned)number)
						    : NULL;
}

static uint32_t ttl_of(const json_t *item)
{
	json_int_t ttl = json_integer_value(json_object_get(item, "ttl"));

	if (ttl < TTL_MIN)
		return TTL_MIN;
	return ttl > TTL_MAX ? TTL_MAX : (uint32_t)ttl;
}

/* @name led to these addresses. The policy may be another one than when it was asked for.
 */
static void open_name(struct net *net, struct slot *slot, const char *name,
		      const json_t *addresses)
{
	const json_t *each;
	size_t i;

	if (!slot->rules || !policy_allows_name(slot->rules->policy, name))
		return;
	json_array_foreach(addresses, i, each)
	{
		const char *text = json_string_value(json_object_get(each, "address"));
		struct policy_range range;

		if (i >= ADDRESSES_MAX)
			return;
		if (text && policy_range_parse(text, &range, NULL) == 0 &&
		    range.prefix == (range.six ? 128 : 32))
			known_add(&slot->known, &net->hub.rules, &range, name,
				  ttl_of(each));
	}
}

static void expire_soon(struct net *net)
{
	if (!net->expire.deadline_ns)
		loop_timer_set(&net->loop, &net->expire, TTL_MIN * 1000ull);
}

static void on_open(struct net *net, const json_t *message)
{
	const char *text = json_string_value(json_object_get(message, "name"));
	json_t *seq = json_object_get(message, "seq");
	struct slot *slot = slot_in(net, message);
	char name[POLICY_NAME_MAX + 1];

	if (slot && text && policy_name_parse(text, name, NULL) == 0)
		open_name(net, slot, name, json_object_get(message, "addresses"));
	expire_soon(net);
	if (json_is_integer(seq))
		net_answer(net, &net->dns, json_pack("{s:O}", "seq", seq), NULL);
}

static void on_denied(struct net *net, const json_t *message)
{
	struct slot *slot = slot_in(net, message);
	json_t *record = json_pack("{s:s, s:s}", "action", "deny", "proto", "dns");

	for (size_t i = 0; i < 3; i++) {
		static const char *const keys[] = {"name", "type", "reason"};

		if (json_is_string(json_object_get(message, keys[i])))
			json_object_set(record, keys[i], json_object_get(message, keys[i]));
	}
	if (slot)
		records_add(net, slot, record);
	else
		json_decref(record);
}

static void on_lost(struct net *net, const json_t *message)
{
	struct slot *slot = slot_in(net, message);
	json_int_t count = json_integer_value(json_object_get(message, "count"));

	if (slot && count > 0)
		records_lost(net, slot, (unsigned)(count > COUNT_MAX ? COUNT_MAX : count));
}

static void on_dns(struct peer *peer, json_t *message)
{
	struct net *net = container_of(peer, struct net, dns);
	const char *op = json_string_value(json_object_get(message, "op"));

	if (!op)
		peer_send(&net->proxy, json_incref(message), NULL,
			  0); /* to its `resolve` */
	else if (strcmp(op, "open") == 0)
		on_open(net, message);
	else if (strcmp(op, "denied") == 0)
		on_denied(net, message);
	else if (strcmp(op, "lost") == 0)
		on_lost(net, message);
}

static void on_log(struct net *net, const json_t *message)
{
	struct slot *slot = slot_in(net, message);
	const char *reason = json_string_value(json_object_get(message, "reason"));
	const char *address = json_string_value(json_object_get(message, "address"));
	const char *name = json_string_value(json_object_get(message, "name"));

	if (slot)
		records_add(net, slot,
			    json_pack("{s:s, s:s, s:s*, s:i, s:s*, s:s*}", "action",
				      reason ? "deny" : "allow", "proto", "tcp", "address",
				      address, "port", 443, "name", name, "reason",
				      reason));
}

static void on_proxy(struct peer *peer, json_t *message)
{
	struct net *net = container_of(peer, struct net, proxy);
	const char *op = json_string_value(json_object_get(message, "op"));

	if (op && strcmp(op, "resolve") == 0)
		peer_send(&net->dns, json_incref(message), NULL, 0);
	else if (op && strcmp(op, "log") == 0)
		on_log(net, message);
}

/* Without it there are no names, and without the other no secrets. `dns` can be started
 * only in the host's namespace, where we are no more: the broker starts all anew. */
static void on_gone(struct peer *peer)
{
	(void)peer;
	fputs("vmctl: the sandboxes' network ends: a program of it (vmctl-names) has "
	      "ended\n",
	      stderr);
	exit(EXIT_FAILURE);
}

static void on_taken(struct peer *peer)
{
	net_commit_soon(container_of(peer->loop, struct net, loop));
}

bool helpers_are_told(const struct net *net)
{
	return peer_has_taken(&net->dns) && peer_has_taken(&net->proxy);
}

static int open_program(struct error *err)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof(NAMES));

	if (len <= 0)
		return error_set(err, errno, "cannot find " NAMES);
	path[len] = '\0';
	strcpy(strrchr(path, '/') + 1, NAMES);
	program = open(path, O_PATH | O_CLOEXEC);
	return program < 0 ? error_set(err, errno, "cannot open %s", path) : 0;
}

bool helpers_for_all(void)
{
	struct stat st;

	return program >= 0 && fstat(program, &st) == 0 && st.st_mode & S_IXOTH;
}

static int start(struct net *net, struct peer *peer, const char *command,
		 void (*fn)(struct peer *peer, json_t *message), struct error *err)
{
	const char *argv[] = {NAMES, command, NULL};
	cleanup_close int theirs = -1;
	int pair[2], r;
	pid_t pid;

	if ((program < 0 && open_program(err) < 0) || peer_pair(pair, err) < 0)
		return err->code;
	theirs = pair[1];
	pid = spawn(NAMES, argv,
		    &(struct spawn_options){.fds = &theirs, .count = 1, .program = program},
		    err);
	if (pid < 0) {
		close(pair[0]);
		return pid;
	}
	r = peer_open(peer, &net->loop, pair[0], fn, on_gone, err);
	peer->taken = on_taken;
	return r;
}

int helpers_start_dns(struct net *net, struct error *err)
{
	return start(net, &net->dns, "dns", on_dns, err);
}

int helpers_start_proxy(struct net *net, struct error *err)
{
	int r = start(net, &net->proxy, "proxy", on_proxy, err);
	const int dns[] = {net->hub.dns_udp, net->hub.dns_tcp};

	peer_send(&net->dns, json_pack("{s:s}", "op", "listen"), dns, 2);
	if (r == 0)
		peer_send(&net->proxy, json_pack("{s:s}", "op", "listen"),
			  &net->hub.proxy_tcp, 1);
	io_close_all(&net->hub.dns_udp, 1);
	io_close_all(&net->hub.dns_tcp, 1);
	io_close_all(&net->hub.proxy_tcp, 1);
	return r;
}

static json_t *describe(const struct slot *slot, bool values)
{
	struct net_address address = net_address_of(slot->number);

	if (!slot->member)
		return json_pack("{s:s, s:i}", "op", "drop", "slot", (int)slot->number);
	return json_pack("{s:s, s:i, s:s, s:o}", "op", "policy", "slot", (int)slot->number,
			 "address", address.ip4, "policy",
			 policy_json(slot->member->policy, values));
}

void helpers_policy(struct net *net, const struct slot *slot)
{
	peer_send(&net->dns, describe(slot, false), NULL, 0);
	peer_send(&net->proxy, describe(slot, true), NULL, 0);
}

void helpers_network(struct net *net)
{
	json_t *dns = json_object_get(net->network, "dns");
	json_t *ca = json_object_get(net->network, "ca");

	peer_send(&net->dns, json_pack("{s:s, s:O*}", "op", "upstream", "dns", dns), NULL,
		  0);
	if (ca)
		peer_send(&net->proxy,
			  json_pack("{s:s, s:O*, s:O*}", "op", "ca", "cert",
				    json_object_get(ca, "cert"), "key",
				    json_object_get(ca, "key")),
			  NULL, 0);
}
