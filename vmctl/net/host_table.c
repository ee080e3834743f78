#include "vmctl/net/host_table.h"

#include "util/cleanup.h"
#include "vmctl/net/guard.h"
#include "vmctl/net/rt.h"
#include "vmctl/net/ruleset.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SET_TRIES 10

static const char host_rules[] =
    "add table inet %s\n"
    "delete table inet %s\n"
    "table inet %s {\n"
    " chain input {\n"
    "  type filter hook input priority filter - 5;\n"
    "  iifname != \"%s\" accept\n"
    "  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n"
    "  meta l4proto tcp reject with tcp reset\n"
    "  reject with icmpx admin-prohibited\n"
    " }\n"
    " chain forward {\n"
    "  type filter hook forward priority filter - 5;\n"
    "  oifname \"%s\" ct state established,related accept\n"
    "  oifname \"%s\" drop\n"
    " }\n"
    " chain out {\n"
    "  type nat hook postrouting priority srcnat - 5;\n"
    "  ip saddr %s masquerade\n"
    "  ip6 saddr %s masquerade\n"
    " }\n"
    "}\n";

static int set(const struct host_table *table, struct error *err)
{
	cleanup_ruleset struct ruleset ruleset = {0};
	const char *link = table->link;
	int r = ruleset_open(&ruleset, err);

	if (r < 0)
		return r;
	ruleset_add(&ruleset, host_rules, link, link, link, link, link, link, table->up4,
		    table->up6);
	return ruleset_commit(&ruleset, err);
}

/* Return: as nft lists it, new; or NULL when it is not there. */
static char *listing(const struct host_table *table)
{
	cleanup_ruleset struct ruleset ruleset = {0};
	struct error ignored;
	const char *output;

	if (ruleset_open(&ruleset, &ignored) < 0)
		return NULL;
	ruleset_add(&ruleset, "list table inet %s\n", table->link);
	if (ruleset_commit(&ruleset, &ignored) < 0)
		return NULL;
	output = nft_ctx_get_output_buffer(ruleset.nft);
	return output ? strdup(output) : NULL;
}

/* What changes in the host's rules is told to a socket. */
static int listen_to_changes(struct error *err)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	cleanup_close int fd =
	    socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	int group = NFNLGRP_NFTABLES;

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return error_set(err, errno, "cannot watch the host's rules");
	return steal_fd(&fd);
}

/* As it was when it was set; the guard's. */
static char *as_set;

static int begin(const void *data, struct error *err)
{
	cleanup_close int fd = listen_to_changes(err);

	if (fd < 0)
		return fd;
	/* Who cleans up after a former one may have taken it for that one's. */
	for (int i = 0; i < SET_TRIES && !(as_set = listing(data)); i++)
		if (set(data, err) < 0)
			return err->code;
	return as_set ? steal_fd(&fd)
		      : error_say(err, EIO, "the uplink's rules are gone already");
}

/* What has changed is looked up, not read here; also, if some was lost (ENOBUFS). */
static int turn(const void *data, int fd)
{
	const struct host_table *table = data;
	cleanup_free char *now = NULL;
	struct error err;
	char dropped[4096];
	int r;

	while (recv(fd, dropped, sizeof(dropped), 0) >= 0 || errno == ENOBUFS)
		;
	/* Without the link there is nothing to be set again: it all ends. */
	if ((int)if_nametoindex(table->link) != table->index)
		return -ENODEV;
	now = listing(data);
	if (now && strcmp(now, as_set) == 0)
		return 0;
	r = set(data, &err);
	fprintf(stderr, "vmctl: the rules of the sandboxes' uplink were changed; %s\n",
		r < 0 ? err.text : "they are set again");
	return r;
}

static void delete_table(const char *name)
{
	cleanup_ruleset struct ruleset ruleset = {0};
	struct error ignored;

	if (ruleset_open(&ruleset, &ignored) < 0)
		return;
	ruleset_add(&ruleset, "delete table inet %s\n", name);
	ruleset_commit(&ruleset, &ignored);
}

void host_table_end(const char *link, int index)
{
	cleanup_rt struct rt rt = {0};
	struct error ignored;

	if (rt_open(&rt, &ignored) == 0)
		rt_delete_index(&rt, index, &ignored);
	if (if_nametoindex(link) == 0)
		delete_table(link);
}

/* `vmctl net` has ended. */
static void on_end(const void *data, int fd)
{
	const struct host_table *table = data;

	(void)fd;
	host_table_end(table->link, table->index);
}

int host_table_guard(const struct host_table *table, struct error *err)
{
	const struct guard_work work = {
	    .begin = begin, .turn = turn, .end = on_end, .data = table};
	int r = set(table, err);

	return r < 0 ? r : guard_start(&work, err);
}

/* Is @line, of nft's list, a table of ours? @name: of 16 bytes, set to its own. */
static bool is_ours(const char *line, char *name)
{
	static const char start[] = "table inet pffs";
	const char *digits = line + sizeof(start) - 1;
	unsigned long number;
	char *end;

	if (strncmp(line, start, sizeof(start) - 1) != 0)
		return false;
	number = strtoul(digits, &end, 10);
	if (end == digits || number >= HOST_TABLES_MAX)
		return false;
	snprintf(name, 16, "pffs%lu", number);
	return true;
}

static void delete_stale(struct ruleset *ruleset)
{
	cleanup_free char *list = NULL;
	const char *output;
	char *rest, *line, name[16];

	ruleset_add(ruleset, "list tables inet\n");
	if (ruleset_commit(ruleset, NULL) < 0)
		return;
	output = nft_ctx_get_output_buffer(ruleset->nft);
	rest = list = output ? strdup(output) : NULL;
	while (rest && (line = strsep(&rest, "\n")))
		if (is_ours(line, name) && if_nametoindex(name) == 0)
			ruleset_add(ruleset, "delete table inet %s\n", name);
}

void host_table_clean(void)
{
	cleanup_ruleset struct ruleset ruleset = {0};
	struct error ignored;

	if (ruleset_open(&ruleset, &ignored) < 0)
		return;
	delete_stale(&ruleset);
	ruleset_commit(&ruleset, &ignored);
}
