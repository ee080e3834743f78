/*
 * Theory of operation
 *
 * All links that programs make go through do_linkat() in the kernel, while those that
 * overlayfs makes for itself do not. Two kprobes count its calls: when it is entered, and
 * when it has returned. They are made as events of tracefs, which can say how many calls
 * that are on their way at once are counted, and can leave out those of the file server.
 *
 * A perf event for each CPU, of each of the two, writes a record for every call into a
 * ring that is ours to read alone, and so never full. Of the ring only its head is of
 * interest, which says how many bytes were written in all: looking at it is no system
 * call. All of it is the kernel's memory, so that a fork of the machine goes on counting.
 */
#include "guest/agent/links.h"

#include "guest/agent/log.h"
#include "guest/agent/tracing.h"
#include "guest/files/server.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OTHERS "comm != \"" FILES_SERVER_NAME "\""

/* r1024: calls that sleep at the same time, at most. */
static const char probes[] = "p:pffs/link_entered do_linkat comm=$comm\n"
			     "r1024:pffs/link_returned do_linkat comm=$comm\n";

/* Return: 0 or -errno. */
static int make_probes(void)
{
	cleanup_close int fd = open(TRACING "/kprobe_events", O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : io_write_all(fd, probes, strlen(probes));
}

/* Return: 0 or -errno. */
static int map_ring(int event, unsigned int cpu, const struct perf_event_mmap_page **ring)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_TRACEPOINT,
	    .size = sizeof(attr),
	    .config = (uint64_t)event,
	    .sample_period = 1,
	    .watermark = 1,
	    .wakeup_watermark = UINT32_MAX, /* nobody waits for it */
	};
	long page = sysconf(_SC_PAGESIZE);
	cleanup_close int fd = (int)syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1,
					    PERF_FLAG_FD_CLOEXEC);
	void *at;

	if (fd < 0 || ioctl(fd, PERF_EVENT_IOC_SET_FILTER, OTHERS) < 0)
		return -errno;
	/* One that cannot be written is never full. The map keeps the event. */
	at = mmap(NULL, 2 * (size_t)page, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*ring = at;
	return 0;
}

static int map_rings(struct links *links, unsigned int cpus)
{
	int entered = tracing_number("pffs/link_entered"),
	    returned = tracing_number("pffs/link_returned"), r = 0;

	if (entered < 0 || returned < 0)
		return -ENOENT;
	for (unsigned int i = 0; r == 0 && i < cpus; i++) {
		r = map_ring(entered, i, &links->entered[i]);
		if (r == 0)
			r = map_ring(returned, i, &links->returned[i]);
	}
	return r;
}

void links_init(struct links *links)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	int begun = cpus < 1 || cpus > LINKS_CPUS ? -ERANGE : tracing_begin();
	int r = begun < 0 ? begun : make_probes();

	if (r == 0)
		r = map_rings(links, (unsigned int)cpus);
	tracing_end(begun);
	if (r < 0)
		log_say("hard links cannot be counted: %s", strerror(-r));
	else
		links->cpus = (unsigned int)cpus;
}

/* Bytes of records, which all have one size. */
static uint64_t sum(const struct perf_event_mmap_page *const *rings, unsigned int cpus)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < cpus; i++)
		bytes += __atomic_load_n(&rings[i]->data_head, __ATOMIC_ACQUIRE);
	return bytes;
}

/* What was on its way counts again when it is over. */
bool links_made(struct links *links)
{
	uint64_t returned = sum(links->returned, links->cpus);
	bool made = sum(links->entered, links->cpus) != links->known;

	links->known = returned;
	return made;
}
