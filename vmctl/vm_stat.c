/*
 * Theory of operation
 *
 * Forks share memory copy-on-write, so what a process has resident says little of
 * what it costs. /proc/PID/smaps_rollup (proc(5)) adds up, over all mappings, the
 * pages that nobody else maps, and the proportional share of the others: a page that
 * n processes map counts a n-th in each. So the sums over all VMs are what they all
 * take, and ending a VM gives back its private part at least.
 */
#include "vmctl/vm_stat.h"

#include "vmctl/procfs.h"

#include <sys/resource.h>
#include <unistd.h>

#define ROLLUP_MAX 4096 /* it takes less than 1 KiB */

static json_t *memory(int rollup)
{
	char text[ROLLUP_MAX];
	ssize_t len = read(rollup, text, sizeof(text) - 1);
	json_int_t private, pss;

	text[len > 0 ? len : 0] = '\0';
	private = procfs_bytes(text, "Private_Clean") + procfs_bytes(text, "Private_Dirty");
	pss = procfs_bytes(text, "Pss");
	return json_pack("{s:I, s:I, s:I}", "memory_bytes", procfs_bytes(text, "Rss"),
			 "memory_private", private, "memory_shared",
			 pss > private ? pss - private : 0);
}

/* #syscalls:vm getrusage */
static json_int_t cpu_usec(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (json_int_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
	       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

json_t *vm_stat(struct machine *m, int rollup)
{
	json_t *stat = memory(rollup);
	uint64_t disk;

	/* A vCPU may be closing a layer. */
	pthread_mutex_lock(&m->lock);
	disk = disk_allocated(&m->upper);
	pthread_mutex_unlock(&m->lock);

	json_object_set_new(stat, "cpu_usec", json_integer(cpu_usec()));
	json_object_set_new(stat, "disk_bytes", json_integer((json_int_t)disk));
	return stat;
}
