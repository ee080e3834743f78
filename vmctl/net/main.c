/*
 * vmctl-net: see net.h. The broker starts it, and nobody else has a use for it.
 */
#include "util/json_memory.h"
#include "vmctl/net/net_parts.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const struct error *err)
{
	fprintf(stderr, "vmctl: sandboxes have no network: %s\n", err->text);
	return EXIT_FAILURE;
}

/* vmctl net [--uplink KIND | --clean LINK | --host] */
int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"uplink", required_argument, NULL, 'u'},
	    {"clean", required_argument, NULL, 'c'},
	    {"host", no_argument, NULL, 'h'},
	    {0},
	};
	static struct net net;
	enum uplink_kind want = UPLINK_AUTO;
	struct error err;
	int c;

	json_memory_init("vmctl-net");
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'c') {
			uplink_clean(optarg);
			return EXIT_SUCCESS;
		}
		if (c == 'h')
			return uplink_host(&err) < 0 ? fail(&err) : EXIT_SUCCESS;
		if (c != 'u')
			return EXIT_FAILURE;
		if (uplink_parse(optarg, &want, &err) < 0)
			return fail(&err);
	}
	signal(SIGPIPE, SIG_IGN);
	net_init(&net);
	return net_run(&net, want, &err) < 0 ? fail(&err) : EXIT_SUCCESS;
}
