/*
 * How far the kernel reads ahead on a mount. It offers 128 KiB, of which a guest's file
 * comes no faster than one reply after the other; root may ask for more.
 */
#include "pffs/fs/fs.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <stdlib.h>
#include <string.h>

#define MOUNTS_MAX (16u << 20)

/* The device of the newest mount at @dir, as "MAJOR:MINOR". Return: was it found? */
static bool find_device(const char *dir, char device[32])
{
	size_t len;
	cleanup_free char *text =
	    io_read_file("/proc/self/mountinfo", MOUNTS_MAX, &len, NULL);
	char *rest = text, *line, at[4096], found[32];
	bool any = false;

	while (rest && (line = strsep(&rest, "\n")))
		if (sscanf(line, "%*d %*d %31s %*s %4095s", found, at) == 2 &&
		    strcmp(at, dir) == 0) {
			strcpy(device, found);
			any = true;
		}
	return any;
}

void fs_read_ahead(const char *mountpoint, unsigned kib)
{
	char device[32], path[128];
	FILE *f;

	if (!find_device(mountpoint, device))
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", device);
	f = fopen(path, "we");
	if (!f)
		return;
	fprintf(f, "%u\n", kib);
	fclose(f);
}
