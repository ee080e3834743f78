#include "vmctl/net/netns.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OVER_S "5" /* for which conntrack remembers a connection of TCP that is over */

int netns_here(struct error *err)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? error_set(err, errno, "cannot open a network namespace") : fd;
}

int netns_new(struct error *err)
{
	if (unshare(CLONE_NEWNET) < 0)
		return error_set(err, errno, "cannot make a network namespace");
	return 0;
}

int netns_enter(int fd, struct error *err)
{
	if (setns(fd, CLONE_NEWNET) < 0)
		return error_set(err, errno, "cannot enter a network namespace");
	return 0;
}

int netns_set(const char *key, const char *value, struct error *err)
{
	char path[128];
	cleanup_close int fd = -1;
	int r;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", key);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : io_write_all(fd, value, strlen(value));
	return r < 0 ? error_set(err, -r, "cannot set %s", path) : 0;
}

/* What a kernel lacks of it does not happen there. */
void netns_quiet(void)
{
	static const struct {
		const char *key, *value;
	} values[] = {
	    {"ipv6/conf/default/addr_gen_mode", "1"},
	    {"ipv6/conf/default/accept_ra", "0"},
	    {"ipv6/conf/default/accept_dad", "0"},
	    {"ipv6/conf/default/autoconf", "0"},
	    {"ipv4/conf/all/send_redirects", "0"},
	    {"ipv4/conf/default/send_redirects", "0"},
	    {"ipv4/conf/all/accept_source_route", "0"},
	    {"ipv4/conf/default/accept_source_route", "0"},
	    {"ipv4/conf/all/arp_ignore", "1"},
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		netns_set(values[i].key, values[i].value, NULL);
}

int netns_forward(struct error *err)
{
	int r = netns_set("ipv6/conf/all/forwarding", "1", err);

	return r < 0 && r != -ENOENT ? r : netns_set("ipv4/ip_forward", "1", err);
}

void netns_forget_soon(void)
{
	netns_set("netfilter/nf_conntrack_tcp_timeout_time_wait", OVER_S, NULL);
	netns_set("netfilter/nf_conntrack_tcp_timeout_close", OVER_S, NULL);
}
