/*
 * vmctl-names: see names.h. `vmctl net` starts it; nobody else has a use for it.
 */
#include "util/json_memory.h"
#include "vmctl/names/names.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* A question or a request has descriptors of its own. */
static void allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	json_memory_init("vmctl-names");
	json_object_seed(0); /* from a file, which there is none of later */
	signal(SIGPIPE, SIG_IGN);
	allow_descriptors();
	if (strcmp(command, "dns") == 0)
		return dns_main(argc - 1, argv + 1);
	if (strcmp(command, "proxy") == 0)
		return proxy_main(argc - 1, argv + 1);
	fputs("vmctl-names is a part of vmctl net, which starts it\n", stderr);
	return 2;
}
