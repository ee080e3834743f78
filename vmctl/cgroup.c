#include "vmctl/cgroup.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT	  "/sys/fs/cgroup"
#define PERIOD_US 100000u
#define PATH_ROOM 128

static int write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : io_write_all(fd, text, strlen(text));
}

bool cgroup_usable(void)
{
	return write_file(ROOT "/cgroup.subtree_control", "+cpu") == 0;
}

static void name_group(pid_t broker, uint32_t id, char path[PATH_ROOM])
{
	snprintf(path, PATH_ROOM, ROOT "/pffs-%d-%u", broker, id);
}

static int put_in(const char *group, const char *file, const char *text)
{
	char path[PATH_ROOM + 32];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return write_file(path, text);
}

int cgroup_limit(pid_t broker, uint32_t id, pid_t pid, unsigned percent, struct error *err)
{
	char group[PATH_ROOM], quota[48] = "max", process[16];
	int r = 0;

	name_group(broker, id, group);
	if (percent)
		snprintf(quota, sizeof(quota), "%u %u", percent * (PERIOD_US / 100),
			 PERIOD_US);
	snprintf(process, sizeof(process), "%d", pid);
	if (mkdir(group, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0)
		r = put_in(group, "cpu.max", quota);
	if (r == 0)
		r = put_in(group, "cgroup.procs", process);
	return r < 0 ? error_set(err, -r, "cannot limit VM %u by its cgroup", id) : 0;
}

void cgroup_remove(pid_t broker, uint32_t id)
{
	char group[PATH_ROOM];

	name_group(broker, id, group);
	rmdir(group);
}
