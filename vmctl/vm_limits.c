#include "vmctl/vm_limits.h"

#include "vmctl/vm_fork.h"

#include <signal.h>
#include <sys/resource.h>

#define OTHER_FILES 64		   /* sockets, KVM, vCPUs, what is frozen to and from */
#define OTHER_DATA  (256ull << 20) /* heap, stacks of vCPUs, state of KVM */
#define DISK_TABLES 8192	   /* bytes of disk for one of map and slots, or more */
#define FILE_TABLES 64		   /* likewise, of memory and disk, in a frozen file */
#define OTHER_BYTES (64ull << 20)  /* in such a file */

/*
 * More than there was cannot be had, and is no harm.
 * #syscalls:vm prlimit64(0==0)
 */
static void limit(__rlimit_resource_t what, uint64_t most)
{
	struct rlimit now;

	if (getrlimit(what, &now) < 0)
		return;
	if (now.rlim_max > most)
		now.rlim_max = most;
	if (now.rlim_cur > now.rlim_max)
		now.rlim_cur = now.rlim_max;
	setrlimit(what, &now);
}

void vm_limits_processes(uint64_t most)
{
	limit(RLIMIT_NPROC, most);
}

static void limit_memory(const struct machine *m)
{
#ifndef __SANITIZE_ADDRESS__ /* which maps terabytes */
	limit(RLIMIT_DATA, 2 * m->mem.size + m->upper.size / DISK_TABLES + OTHER_DATA);
#else
	(void)m;
#endif
}

void vm_limits_set(const struct machine *m)
{
	uint64_t whole = m->mem.size + m->upper.size;

	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, DISK_LAYERS_MAX + VM_FORK_BATCH * VM_FORK_FDS + OTHER_FILES);
	/* Who writes too much gets EFBIG, as from a disk that is full. */
	signal(SIGXFSZ, SIG_IGN);
	limit(RLIMIT_FSIZE, whole + whole / FILE_TABLES + OTHER_BYTES);
	limit_memory(m);
}
