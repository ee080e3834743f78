#include "pffs/core/resources.h"

#include "pffs/core/caps.h"
#include "pffs/core/fork.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"

#include <errno.h>
#include <string.h>

static const struct {
	const char *name;
	const char *option; /* of pffs mount, for the size of the machine; or NULL: */
	uint32_t min, max;  /* the latter where the machine has no size */
} resources[RESOURCE_COUNT] = {
    [RESOURCE_MEMORY_MIB] = {"memory_mib", "--memory-mib", 64, 0},
    [RESOURCE_VCPUS] = {"vcpus", "--vcpus", 1, 0},
    [RESOURCE_DISK_MIB] = {"disk_mib", "--disk-mib", 16, 0},
    [RESOURCE_PIDS] = {"pids", NULL, 16, 1u << 22},
    [RESOURCE_CPU_PERCENT] = {"cpu_percent", NULL, 5, 800},
};

void resources_init(struct sandbox *sb)
{
	const struct core_options *options = &sb->core->options;

	sb->resources = (struct resources){
	    .size = {[RESOURCE_MEMORY_MIB] = options->memory_mib,
		     [RESOURCE_VCPUS] = options->vcpus,
		     [RESOURCE_DISK_MIB] = options->disk_mib},
	};
}

void resources_inherit(struct sandbox *sb, const struct sandbox *parent)
{
	memcpy(sb->resources.size, parent->resources.size, sizeof(sb->resources.size));
	memcpy(sb->resources.limit, parent->resources.limit, sizeof(sb->resources.limit));
}

void resources_forked(struct sandbox *sb, const struct sandbox *parent)
{
	memcpy(sb->resources.told, parent->resources.told, sizeof(sb->resources.told));
	sb->resources.quota = parent->resources.quota;
}

void resources_moved(struct sandbox *sb, const struct sandbox *from)
{
	memcpy(sb->resources.size, from->resources.size, sizeof(sb->resources.size));
	resources_forked(sb, from);
}

void resources_adrift(struct sandbox *sb)
{
	memset(sb->resources.told, 0xff, sizeof(sb->resources.told));
	sb->resources.quota = UINT32_MAX;
}

const char *resources_name(enum resource which)
{
	return resources[which].name;
}

uint32_t resources_get(const struct sandbox *sb, enum resource which)
{
	const struct resources *r = &sb->resources;

	return r->limit[which] ? r->limit[which] : r->size[which];
}

uint32_t resources_cpu_percent(const struct sandbox *sb)
{
	uint32_t percent = sb->resources.limit[RESOURCE_CPU_PERCENT];
	uint32_t all = 100 * resources_get(sb, RESOURCE_VCPUS);

	return percent && percent < all ? percent : all;
}

int resources_check(enum resource which, uint32_t size, uint32_t value, struct error *err)
{
	uint32_t max = size ? size : resources[which].max;
	const char *name = resources[which].name;

	if (size && value > size)
		return error_say(err, EINVAL,
				 "%s is at most %u, which is what the machine has: for "
				 "larger machines, pffs mount %s",
				 name, size, resources[which].option);
	if (value && (value < resources[which].min || value > max))
		return error_say(err, EINVAL,
				 "%s is a number from %u to %u, or 0 for no limit", name,
				 resources[which].min, max);
	return 0;
}

int resources_check_host(const struct core *core, struct error *err)
{
	return core->limits_cpu
		   ? 0
		   : error_say(err, ENOTSUP,
			       "vmctl cannot limit cpu_percent here: it has to run as root "
			       "where /sys/fs/cgroup is cgroup v2");
}

/* More memory for one that has a machine has to be there. */
static int check_room(struct sandbox *sb, enum resource which, uint32_t value,
		      struct error *err)
{
	uint32_t now = resources_get(sb, which);
	uint32_t wanted = value ? value : sb->resources.size[which];

	if (which != RESOURCE_MEMORY_MIB || wanted <= now || !caps_count(sb))
		return 0;
	return caps_admit(sb->core, 0, wanted - now, sb, err);
}

int resources_set(struct sandbox *sb, enum resource which, uint32_t value,
		  struct error *err)
{
	int r = resources_check(which, sb->resources.size[which], value, err);

	if (r == 0)
		r = check_room(sb, which, value, err);
	if (r == 0 && which == RESOURCE_CPU_PERCENT && value)
		r = resources_check_host(sb->core, err);
	if (r < 0)
		return r;
	if (value == sb->resources.size[which])
		value = 0;
	sb->resources.limit[which] = value;
	resources_apply(sb);
	journal_facts(sb);
	return 0;
}

static void tell_guest(struct sandbox *sb)
{
	const uint32_t *limit = sb->resources.limit;
	const struct agent_limits limits = {
	    .memory_mib = limit[RESOURCE_MEMORY_MIB],
	    .vcpus = limit[RESOURCE_VCPUS],
	    .pids = limit[RESOURCE_PIDS],
	    .disk_mib = limit[RESOURCE_DISK_MIB],
	};

	if (memcmp(limit, sb->resources.told, sizeof(sb->resources.told)) == 0)
		return;
	memcpy(sb->resources.told, limit, sizeof(sb->resources.told));
	agent_put_limits(&sb->channel.out, sb->epoch, &limits);
	vmm_flush(&sb->channel);
}

/* A guest that lets its programs use more CPUs than it was told gains nothing. */
static uint32_t quota_of(const struct sandbox *sb)
{
	uint32_t percent = sb->resources.limit[RESOURCE_CPU_PERCENT];
	uint32_t vcpus = sb->resources.limit[RESOURCE_VCPUS];

	return vcpus && (!percent || percent > vcpus * 100) ? vcpus * 100 : percent;
}

static void limited(void *ctx, json_t *reply, const struct error *err)
{
	struct sandbox *sb = ctx;

	if (!reply && sb->state != SANDBOX_DEAD)
		sandbox_fail(sb, err);
	sandbox_unref(sb);
}

static void tell_vmctl(struct sandbox *sb)
{
	uint32_t quota = quota_of(sb);

	if (quota == sb->resources.quota || !sb->core->limits_cpu)
		return;
	sb->resources.quota = quota;
	vmm_request(&sb->core->vmm,
		    json_pack("{s:s, s:I, s:i}", "op", "limit", "vm", (json_int_t)sb->vm,
			      "cpu_percent", (int)quota),
		    limited, sandbox_ref(sb));
}

void resources_apply(struct sandbox *sb)
{
	if (sb->state != SANDBOX_READY || sb->adrift || fork_in_flight(sb) ||
	    freeze_holds(sb))
		return;
	tell_guest(sb);
	tell_vmctl(sb);
}

void resources_out_of_memory(struct sandbox *sb)
{
	struct run *run = sb->current;
	char text[sizeof(((struct error *)0)->text) + 1];
	struct error err;
	int len;

	if (run->out_of_memory)
		return;
	run->out_of_memory = true;
	error_say(&err, ENOMEM,
		  "out of memory in run %u: programs of %s may take %u MiB, and the kernel "
		  "killed one of them",
		  run->number, sb->name, resources_get(sb, RESOURCE_MEMORY_MIB));
	sandbox_fail(sb, &err);
	len = snprintf(text, sizeof(text), "%s\n", err.text);
	run_output(run, RUN_STDERR, (const uint8_t *)text, (size_t)len);
	sandbox_event(sb, "limit_reached",
		      json_pack("{s:s, s:i}", "limit", resources_name(RESOURCE_MEMORY_MIB),
				"run", (int)run->number));
}
