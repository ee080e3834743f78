#include "vmctl/jail.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/jail_root.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SECURE_BITS                                                                        \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |                   \
	 SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |                         \
	 SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

uid_t jail_user(unsigned id)
{
	return JAIL_ID_FIRST + id % JAIL_IDS;
}

void jail_no_new_privileges(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* What may be used again, of what there is. */
static int raise_capabilities(void)
{
	cap_t all = cap_get_proc();
	int r = all ? 0 : -1;

	for (cap_value_t cap = 0; r == 0 && cap < cap_max_bits(); cap++) {
		cap_flag_value_t has = CAP_CLEAR;

		if (cap_get_flag(all, cap, CAP_PERMITTED, &has) == 0 && has == CAP_SET)
			r = cap_set_flag(all, CAP_EFFECTIVE, 1, &cap, CAP_SET);
	}
	if (r == 0)
		r = cap_set_proc(all);
	cap_free(all);
	return r;
}

/* In a namespace of users there may be nobody else. */
bool jail_has_user(uid_t user)
{
	cleanup_fclose FILE *map = fopen("/proc/self/uid_map", "re");
	char line[64], *at;
	bool has = false;

	while (map && fgets(line, sizeof(line), map)) {
		unsigned long first = strtoul(line, &at, 10), count;

		strtoul(at, &at, 10); /* who that is outside */
		count = strtoul(at, NULL, 10);
		has = has || (user >= first && user - first < count);
	}
	return has;
}

/* Capabilities are kept: making the namespaces takes them. */
int jail_become(uid_t uid, struct error *err)
{
	gid_t gid = JAIL_ID_FIRST;

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ||
	    raise_capabilities() < 0)
		return error_set(err, errno, "cannot become the user %u", uid);
	return 0;
}

static int write_text(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : io_write_all(fd, text, strlen(text));
}

/* Whoever changed users cannot look at themselves in /proc, but for this (proc(5)). */
int jail_map_self(uid_t uid, gid_t gid, bool as_root)
{
	char users[64], groups[64];
	int r;

	snprintf(users, sizeof(users), "%u %u 1", as_root ? 0 : uid, uid);
	snprintf(groups, sizeof(groups), "%u %u 1", as_root ? 0 : gid, gid);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	r = write_text("/proc/self/uid_map", users);
	if (r == 0)
		r = write_text("/proc/self/setgroups", "deny");
	return r < 0 ? r : write_text("/proc/self/gid_map", groups);
}

static const struct {
	int flag;
	const char *name;
} namespaces[] = {
    {CLONE_NEWUSER, "user"}, {CLONE_NEWNS, "mount"}, {CLONE_NEWNET, "net"},
    {CLONE_NEWIPC, "ipc"},   {CLONE_NEWUTS, "uts"},
};

/* Return: those that we got, or -errno with @err filled. */
static int get_namespaces(const struct jail *jail, struct error *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int got = 0;

	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
		int flag = namespaces[i].flag;

		if (!(jail->namespaces & flag))
			continue;
		if (unshare(flag) < 0)
			fprintf(stderr, "vmctl: the kernel gives %s no %s namespace: %s\n",
				jail->name, namespaces[i].name, strerror(errno));
		else
			got |= flag;
	}
	if (got & CLONE_NEWUSER) {
		int r = jail_map_self(uid, gid, false);

		if (r < 0)
			return error_set(err, -r, "cannot map the user of %s", jail->name);
	}
	return got;
}

/* All of them, and all ways to get them again. */
static int drop_capabilities(struct error *err)
{
	cap_t none = cap_init();
	int r = none ? 0 : -1;

	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++)
		if (cap_drop_bound(cap) < 0 && errno != EPERM)
			r = -1;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		r = -1;
	/* Without a capability to set them they are given to whom has none. */
	prctl(PR_SET_SECUREBITS, SECURE_BITS, 0, 0, 0);
	if (r == 0)
		r = cap_set_proc(none);
	r = r < 0 ? error_set(err, errno, "cannot drop capabilities") : 0;
	cap_free(none);
	return r;
}

int jail_powerless(struct error *err)
{
	jail_no_new_privileges();
	return drop_capabilities(err);
}

int jail_enter(const struct jail *jail, struct error *err)
{
	bool root = geteuid() == 0;
	int r = jail_root_prepare(jail->root, err), got = 0;

	if (r == 0)
		r = jail->uid && root ? jail_become(jail->uid, err) : 0;
	if (r == 0)
		r = got = get_namespaces(jail, err);
	if (r >= 0)
		r = jail_root_enter(jail->root, got & CLONE_NEWNS, err);
	if (r == 0)
		r = jail_powerless(err);
	if (r < 0)
		return r;
	/* A broker that is not root has no other way to see what a VM takes. */
	prctl(PR_SET_DUMPABLE, !root, 0, 0, 0);
	return jail_calls_enter(jail->calls, err);
}
