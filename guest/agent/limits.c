/*
 * Theory of operation
 *
 * Memory, CPUs and processes are limited by the cgroup that all groups are in. Room on the
 * disk is limited by the clusters that ext4 holds back for itself: also root may not use
 * them, they can be changed at any time, and a program that meets them gets ENOSPC, as on a
 * disk of that size. The host sees to it that a guest which lifts its own limits does not
 * get far (docs/limits.md).
 */
#include "guest/agent/limits.h"

#include "guest/agent/group.h"
#include "guest/agent/log.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "wire/agent.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HELD_BACK "/sys/fs/ext4/vdb/reserved_clusters"

static void limit_number(const char *file, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	groups_limit(file, value ? text : "max");
}

/* Linux takes no empty list for a cgroup with processes: without a limit it has all. */
static void limit_vcpus(uint32_t count)
{
	char text[24];
	long last = (count ? (long)count : sysconf(_SC_NPROCESSORS_ONLN)) - 1;

	snprintf(text, sizeof(text), "0-%ld", last);
	groups_limit("cpuset.cpus", text);
}

/* What ext4 holds back when nobody says otherwise. */
static uint64_t usual_clusters(void)
{
	static uint64_t usual;
	size_t len;
	cleanup_free char *text = usual ? NULL : io_read_file(HELD_BACK, 32, &len, NULL);

	if (text)
		usual = strtoull(text, NULL, 10);
	return usual;
}

static void limit_disk(uint32_t mib)
{
	uint64_t held_back = usual_clusters(), wanted;
	cleanup_close int fd = open(HELD_BACK, O_WRONLY | O_CLOEXEC);
	struct statfs st;
	char text[24];

	if (fd < 0)
		return; /* not PID 1: the file system is not ours */
	if (mib && statfs("/", &st) == 0) {
		wanted = ((uint64_t)mib << 20) / (uint64_t)st.f_bsize;
		if (wanted + held_back < st.f_blocks)
			held_back = st.f_blocks - wanted;
	}
	snprintf(text, sizeof(text), "%" PRIu64, held_back);
	if (io_write_all(fd, text, strlen(text)) < 0)
		log_say("cannot hold back %s clusters of the disk", text);
}

void limits_frame(const struct agent_frame *frame)
{
	struct agent_limits limits;
	struct error err;

	if (agent_get_limits(frame, &limits, &err) < 0) {
		log_say("%s", err.text);
		return;
	}
	limit_number("memory.max", (uint64_t)limits.memory_mib << 20);
	limit_number("pids.max", limits.pids);
	limit_vcpus(limits.vcpus);
	limit_disk(limits.disk_mib);
}
