#include "pffs/core/stats.h"

#include <string.h>

static uint64_t limit_bytes(const struct sandbox *sb, enum resource which)
{
	return (uint64_t)resources_get(sb, which) << 20;
}

void stats_of(const struct sandbox *sb, const struct usage *usage,
	      struct stat_value values[STATS_COUNT])
{
	const struct stat_value all[STATS_COUNT] = {
	    {"cpu_usec", usage->cpu_usec},
	    {"memory_private", usage->memory_private},
	    {"memory_shared", usage->memory_shared},
	    {"disk_bytes", usage->disk_bytes},
	    {"memory_limit", limit_bytes(sb, RESOURCE_MEMORY_MIB)},
	    {"disk_limit", limit_bytes(sb, RESOURCE_DISK_MIB)},
	    {"pids_limit", resources_get(sb, RESOURCE_PIDS)},
	    {"cpu_limit", resources_cpu_percent(sb)},
	    {"forks", sandbox_count_forks(sb)},
	    {"runs", sb->run_count},
	};

	memcpy(values, all, sizeof(all));
}
