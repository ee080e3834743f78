#include "vmctl/procfs.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define MEMINFO_MAX 16384 /* it takes less than 2 KiB */

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
