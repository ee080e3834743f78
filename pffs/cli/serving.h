/*
 * What `pffs mount` and `pffs serve` have in common: the options of the daemon, and how it
 * goes to the background and says how that went.
 */
#pragma once

#include "pffs/cli/daemon.h"

#include <getopt.h>

#define CONFIG_GIVEN_MAX 64

struct serving {
	const char *command;			    /* mount or serve */
	const struct option *options;		    /* SERVING_OPTIONS, and its own */
	int (*take)(struct serving *o, int option); /* these; or NULL */
	struct daemon_options daemon;
	const char *config[CONFIG_GIVEN_MAX]; /* KEY=VALUE */
	unsigned config_count;
	bool foreground;
	bool no_http; /* at the Unix socket alone */
};

#define SERVING_DEFAULTS                                                                   \
	{                                                                                  \
		.images = paths_images(), .engine = "auto", .uplink = "auto",              \
		.memory_mib = 512, .vcpus = 1, .disk_mib = 4096                            \
	}

#define SERVING_OPTIONS                                                                    \
	{"http", required_argument, NULL, 'a'}, {"keys", required_argument, NULL, 'b'},    \
	    {"socket", required_argument, NULL, 's'},                                      \
	    {"images", required_argument, NULL, 'i'},                                      \
	    {"state", required_argument, NULL, 't'},                                       \
	    {"engine", required_argument, NULL, 'e'},                                      \
	    {"uplink", required_argument, NULL, 'w'},                                      \
	    {"dns", required_argument, NULL, 'r'},                                         \
	    {"memory-mib", required_argument, NULL, 'm'},                                  \
	    {"vcpus", required_argument, NULL, 'c'},                                       \
	    {"disk-mib", required_argument, NULL, 'd'},                                    \
	    {"config", required_argument, NULL, 'k'},                                      \
	    {"max-sandboxes", required_argument, NULL, 'x'},                               \
	    {"max-memory-mib", required_argument, NULL, 'y'},                              \
	    {"at-cap", required_argument, NULL, 'z'},                                      \
	    {"user", required_argument, NULL, 'u'},                                        \
	    {"foreground", no_argument, NULL, 'f'},                                        \
	{                                                                                  \
		"help", no_argument, NULL, 'h'                                             \
	}

/** serving_help - what SERVING_OPTIONS mean. */
extern const char serving_help[];

/**
 * serving_parse() - take the options; optind is then at the first argument.
 * Return: 0, 1 when help was asked for, -EINVAL.
 */
int serving_parse(int argc, char **argv, struct serving *o);

/** serving_run() - start the daemon. Return: the exit status. */
int serving_run(struct serving *o);

/** serving_explain() - print the sentence. Return: the exit status 1. */
int serving_explain(const struct error *err);
