#include "vmctl/names/names.h"

#include <sched.h>

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
	    .uid = jail_has_user(JAIL_ID_NAMES) ? JAIL_ID_NAMES : 0,
	    .namespaces = CLONE_NEWUSER | mounts | CLONE_NEWIPC | CLONE_NEWUTS,
	    .root = root,
	    .calls = calls,
	};

	return jail_enter(&jail, err);
}
