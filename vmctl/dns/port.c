#include "vmctl/dns/port.h"

#include "util/cleanup.h"

#include <errno.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/landlock.h as of Linux 6.7 (ABI 4), which Debian 12 has as of 6.1. */
#define RULE_NET_PORT	2
#define NET_BIND_TCP	(1ull << 0)
#define NET_CONNECT_TCP (1ull << 1)

struct ruleset {
	uint64_t fs, net;
};

struct port_rule {
	uint64_t access, port;
};

static bool can_confine(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0,
		       LANDLOCK_CREATE_RULESET_VERSION) >= 4;
}

int port_confine(uint16_t port, struct error *err)
{
	const struct ruleset set = {.net = NET_BIND_TCP | NET_CONNECT_TCP};
	const struct port_rule rule = {.access = NET_CONNECT_TCP, .port = port};
	cleanup_close int fd = -1;

	if (!can_confine())
		return 0;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	fd = (int)syscall(SYS_landlock_create_ruleset, &set, sizeof(set), 0);
	if (fd < 0 || syscall(SYS_landlock_add_rule, fd, RULE_NET_PORT, &rule, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return error_set(err, errno, "cannot use Landlock");
	return 1;
}
