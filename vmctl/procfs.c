#include "vmctl/procfs.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMINFO_MAX 16384 /* it takes less than 2 KiB */
#define STAT_MAX    4096
#define NUMBER_MAX  32
#define STAT_FIELDS 50 /* from the state to the exit code (proc(5)) */

int64_t procfs_bytes(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == ':')
			return strtoll(line + len + 1, NULL, 10) << 10;
	}
	return 0;
}

int64_t procfs_available(void)
{
	size_t len;
	cleanup_free char *text = io_read_file("/proc/meminfo", MEMINFO_MAX, &len, NULL);

	return procfs_bytes(text, "MemAvailable");
}

int procfs_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	if (!dir)
		return 0;
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count - 1; /* without that of @dir */
}

static uint64_t number_in_file(const char *path)
{
	size_t len;
	cleanup_free char *text = io_read_file(path, NUMBER_MAX, &len, NULL);

	return text ? strtoull(text, NULL, 10) : UINT64_MAX;
}

uint64_t procfs_processes(void)
{
	uint64_t pids = number_in_file("/proc/sys/kernel/pid_max");
	uint64_t threads = number_in_file("/proc/sys/kernel/threads-max");

	return pids < threads ? pids : threads;
}

int procfs_open(pid_t pid, const char *file)
{
	const cap_value_t admin = CAP_SYS_ADMIN;
	cap_t now = cap_get_proc(), less = cap_dup(now);
	char path[64];
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	if (less && cap_set_flag(less, CAP_EFFECTIVE, 1, &admin, CAP_CLEAR) == 0 &&
	    cap_set_proc(less) == 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	if (now)
		cap_set_proc(now);
	cap_free(less);
	cap_free(now);
	return fd;
}

uint64_t procfs_pid_namespace(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* The name, which is in parentheses, may have anything in it. */
int procfs_exit_status(pid_t pid)
{
	char path[64], *at;
	cleanup_free char *text = NULL;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	text = io_read_file(path, STAT_MAX, &len, NULL);
	at = text ? strrchr(text, ')') : NULL;
	if (!at || strncmp(at, ") Z", 3) != 0)
		return -1;
	for (int i = 0; i < STAT_FIELDS && at; i++)
		at = strchr(at + 1, ' ');
	return at ? (int)strtol(at, NULL, 10) : -1;
}
