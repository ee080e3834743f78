/*
 * What config/ of a sandbox has: values by name, as text that is read as it is written.
 *
 * Theory of operation: a value is parsed to a number (milliseconds, 0 or 1, a count), and
 * then set by what keeps it: limits.h, resources.h or guest.h. What is made of a template
 * begins with the defaults of the mount, in struct config; a fork with its parent's limits.
 */
#pragma once

#include "pffs/core/resources.h"
#include "util/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum config_key {
	CONFIG_EXEC_TIMEOUT,
	CONFIG_IDLE_TIMEOUT,
	CONFIG_MAX_LIFETIME,
	CONFIG_PERSISTENT,
	CONFIG_EGRESS,	  /* enum policy_egress */
	CONFIG_RESOURCES, /* and the next ones, in the order of enum resource */
	CONFIG_NUMBERS = CONFIG_RESOURCES + RESOURCE_COUNT,
	CONFIG_DIFF_PATHS = CONFIG_NUMBERS,
};

/* The defaults of a mount; all 0 for none. */
struct config {
	uint64_t number[CONFIG_NUMBERS];
	const char *diff_paths; /* borrowed; or NULL */
};

/**
 * config_default() - take a default that was given as KEY=VALUE.
 * @sizes: of the machines that there will be.
 *
 * Return: 0, or -EINVAL with @err filled.
 */
int config_default(struct config *config, const uint32_t sizes[RESOURCE_COUNT],
		   const char *given, struct error *err);

/** config_set() - as written to config/. Return: 0, or -errno with @err filled. */
int config_set(struct sandbox *sb, enum config_key key, const char *value,
	       struct error *err);

/** config_set_paths() - all of diff_paths; no path: the whole tree. Return: likewise. */
int config_set_paths(struct sandbox *sb, const char *text, size_t len, struct error *err);

/** config_print() - as read from config/. */
void config_print(const struct sandbox *sb, enum config_key key, FILE *out);

/** config_begin() - @sb is about to be made of a template: it gets the defaults. */
int config_begin(struct sandbox *sb, struct error *err);

/** config_check_host() - can vmctl do what the defaults say? Return: 0, or -ENOTSUP. */
int config_check_host(const struct core *core, struct error *err);
