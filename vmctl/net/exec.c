#include "vmctl/net/net.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A program of its own, so that what runs VMs links none of the libraries that it needs. */
int net_exec(int argc, char **argv)
{
	static const char suffix[] = "-net";
	static char name[] = "vmctl-net";
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof(suffix));

	(void)argc;
	if (len <= 0)
		return EXIT_FAILURE;
	memcpy(path + len, suffix, sizeof(suffix));
	argv[0] = name;
	execv(path, argv);
	fprintf(stderr, "vmctl: cannot execute %s: %s\n", path, strerror(errno));
	return EXIT_FAILURE;
}
