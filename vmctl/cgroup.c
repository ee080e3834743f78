#include "vmctl/cgroup.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef ROOT /* tests have another */
#define ROOT "/sys/fs/cgroup"
#endif
#define PERIOD_US 100000u
#define PATH_ROOM 128

static int write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : io_write_all(fd, text, strlen(text));
}

/* Return: the broker that made the group @name, or 0 when it is not one of ours. */
static pid_t broker_of(const char *name)
{
	static const char prefix[] = "pffs-";
	char *end;
	long pid;

	if (strncmp(name, prefix, strlen(prefix)) != 0)
		return 0;
	pid = strtol(name + strlen(prefix), &end, 10);
	return *end == '-' && pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* Those of a broker that was killed: unless there still is a VM in them. */
static void remove_orphans(void)
{
	DIR *dir = opendir(ROOT);

	if (!dir)
		return;
	for (const struct dirent *entry; (entry = readdir(dir));) {
		pid_t broker = broker_of(entry->d_name);

		if (broker && kill(broker, 0) < 0 && errno == ESRCH)
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	}
	closedir(dir);
}

bool cgroup_usable(void)
{
	if (write_file(ROOT "/cgroup.subtree_control", "+cpu") < 0)
		return false;
	remove_orphans();
	return true;
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

/* Return: whether there is nothing left to do. */
static bool try_remove(pid_t broker, uint32_t id)
{
	char group[PATH_ROOM];

	name_group(broker, id, group);
	return rmdir(group) == 0 || errno == ENOENT;
}

struct left {
	struct link link;
	pid_t broker;
	uint32_t id;
};

void cgroup_remove(pid_t broker, uint32_t id, struct link *left)
{
	struct left *group = try_remove(broker, id) ? NULL : malloc(sizeof(*group));

	if (!group)
		return;
	group->broker = broker;
	group->id = id;
	list_add_before(left, &group->link);
}

void cgroup_tidy(struct link *left)
{
	struct left *group;

	list_for_each (group, left, struct left, link)
		if (try_remove(group->broker, group->id)) {
			list_del(&group->link);
			free(group);
		}
}

void cgroup_forget(struct link *left)
{
	cgroup_tidy(left);
	while (!list_empty(left)) {
		struct left *group = container_of(left->next, struct left, link);

		list_del(&group->link);
		free(group);
	}
}
