/*
 * vmctl-names: see names.h. `vmctl net` starts it; nobody else has a use for it.
 */
#include "util/io.h"
#include "util/json_memory.h"
#include "vmctl/names/names.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	json_memory_init("vmctl-names");
	json_object_seed(0); /* from a file, which there is none of later */
	signal(SIGPIPE, SIG_IGN);
	io_raise_descriptors(); /* a question or a request has some of its own */
	if (strcmp(command, "dns") == 0)
		return dns_main(argc - 1, argv + 1);
	if (strcmp(command, "proxy") == 0)
		return proxy_main(argc - 1, argv + 1);
	fputs("vmctl-names is a part of vmctl net, which starts it\n", stderr);
	return 2;
}
