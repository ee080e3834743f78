/*
 * What is told of what a sandbox uses, and may: the numbers of `stats`, by name.
 */
#pragma once

#include "pffs/core/usage.h"

#define STATS_COUNT 10

struct stat_value {
	const char *name;
	uint64_t value;
};

/** stats_of() - all of them, in the order in which they are shown. */
void stats_of(const struct sandbox *sb, const struct usage *usage,
	      struct stat_value values[STATS_COUNT]);
