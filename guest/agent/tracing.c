#include "guest/agent/tracing.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>

int tracing_begin(void)
{
	if (mount("tracefs", TRACING, "tracefs", 0, NULL) < 0)
		return errno == EBUSY ? 0 : -errno;
	return 1;
}

void tracing_end(int begun)
{
	if (begun > 0)
		umount2(TRACING, MNT_DETACH);
}

int tracing_number(const char *event)
{
	cleanup_free char *text = NULL;
	char path[128];
	size_t len;

	snprintf(path, sizeof(path), TRACING "/events/%s/id", event);
	text = io_read_file(path, 32, &len, NULL);
	return text ? (int)strtol(text, NULL, 10) : -ENOENT;
}
