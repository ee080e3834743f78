#include "vmctl/names/names.h"

#include "util/cleanup.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define USER (JAIL_ID_FIRST + JAIL_IDS) /* behind those of VMs */

/* In a namespace of users there may be nobody else: then we stay who we are. */
static bool has_user(uid_t user)
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

/*
 * What the C library and GnuTLS need: memory, time, chance, and to say why they end. There
 * is no signal that anything here handles.
 *
 * #syscalls:dns,proxy,resolv brk mmap(2==PROT_NONE) mmap(2==PROT_READ|PROT_WRITE) munmap
 * mremap madvise mprotect(2==PROT_READ|PROT_WRITE) futex clock_gettime gettimeofday time
 * write writev exit_group
 * #syscalls:dns,proxy getrandom
 */
int names_jail(const char *name, enum jail_root root, enum jail_calls calls,
	       struct error *err)
{
	/* A copy of the host's mounts would keep those in use that are unmounted there. */
	const int mounts = root == JAIL_ROOT_HOST ? 0 : CLONE_NEWNS;
	const struct jail jail = {
	    .name = name,
	    .uid = has_user(USER) ? USER : 0,
	    .namespaces = CLONE_NEWUSER | mounts | CLONE_NEWIPC | CLONE_NEWUTS,
	    .root = root,
	    .calls = calls,
	};

	return jail_enter(&jail, err);
}
