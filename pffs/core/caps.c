#include "pffs/core/caps.h"

#include "pffs/core/fork.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/record.h"

#include <errno.h>

struct use {
	unsigned count;
	uint64_t memory_mib;
};

bool caps_count(const struct sandbox *sb)
{
	return sb->folder != FOLDER_HIDDEN && sb->state != SANDBOX_DEAD &&
	       sb->state != SANDBOX_STORED && !freeze_holds(sb);
}

static void add(struct use *use, const struct sandbox *sb)
{
	use->count++;
	use->memory_mib += resources_get(sb, RESOURCE_MEMORY_MIB);
}

static struct use in_use(const struct core *core)
{
	const struct sandbox *sb;
	struct use use = {0};

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (caps_count(sb))
			add(&use, sb);
	return use;
}

/* Return: 0, or the errno that says which cap @use is above. */
static int above(const struct caps *caps, const struct use *use)
{
	if (caps->sandboxes && use->count > caps->sandboxes)
		return ENOSPC;
	return caps->memory_mib && use->memory_mib > caps->memory_mib ? ENOMEM : 0;
}

bool caps_full(const struct core *core, unsigned count, uint64_t memory_mib)
{
	const struct sandbox *sb;
	struct use use = in_use(core);
	bool frozen_soon = false;

	if (!core->options.caps.freeze)
		return false;
	use.count += count;
	use.memory_mib += memory_mib;
	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (freeze_holds(sb)) {
			add(&use, sb);
			frozen_soon = true;
		}
	return frozen_soon && above(&core->options.caps, &use);
}

static void look_again(struct loop_timer *timer)
{
	struct core *core = container_of(timer, struct core, room);
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link) {
		fork_next(sb);
		freeze_resume(sb);
	}
}

void caps_init(struct core *core)
{
	loop_timer_init(&core->room, look_again);
}

void caps_changed(struct core *core)
{
	if (core->options.caps.freeze)
		loop_timer_set(core->loop, &core->room, 0);
}

uint64_t caps_memory_mib(const struct core *core)
{
	return in_use(core).memory_mib;
}

static bool may_freeze(const struct sandbox *sb, const struct sandbox *keep)
{
	return sb != keep && sb->state == SANDBOX_READY && !sb->making && caps_count(sb) &&
	       !sb->hold && !limits_in_use(sb);
}

/* All that can be frozen now. */
static struct use idle(const struct core *core, const struct sandbox *keep)
{
	const struct sandbox *sb;
	struct use use = {0};

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (may_freeze(sb, keep))
			add(&use, sb);
	return use;
}

static struct sandbox *longest_idle(const struct core *core, const struct sandbox *keep)
{
	struct sandbox *sb, *longest = NULL;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (may_freeze(sb, keep) &&
		    (!longest || sb->limits.used_ns < longest->limits.used_ns))
			longest = sb;
	return longest;
}

static int refuse(const struct core *core, int why, struct error *err)
{
	const struct caps *caps = &core->options.caps;
	struct error frozen = {0};
	const char *remedy = !caps->freeze ? "remove or freeze one"
			     : record_check(core, &frozen) < 0
				 ? frozen.text
				 : "and none of them is idle: wait, or remove one";

	if (why == ENOSPC)
		return error_say(err, ENOSPC,
				 "there are as many sandboxes as --max-sandboxes %u "
				 "allows: %s",
				 caps->sandboxes, remedy);
	return error_say(err, ENOMEM,
			 "the sandboxes have %llu MiB of the %u that --max-memory-mib "
			 "allows: %s",
			 (unsigned long long)caps_memory_mib(core), caps->memory_mib,
			 remedy);
}

int caps_admit(struct core *core, unsigned count, uint64_t memory_mib,
	       const struct sandbox *keep, struct error *err)
{
	const struct caps *caps = &core->options.caps;
	struct use use, rest, most;
	struct sandbox *sb;
	int why;

	if (!caps->sandboxes && !caps->memory_mib)
		return 0;
	use = in_use(core);
	use.count += count;
	use.memory_mib += memory_mib;
	why = above(caps, &use);
	if (!why)
		return 0;
	most = idle(core, keep);
	rest = (struct use){use.count - most.count, use.memory_mib - most.memory_mib};
	if (!caps->freeze || above(caps, &rest) || record_check(core, err) < 0)
		return refuse(core, why, err);
	while (above(caps, &use) && (sb = longest_idle(core, keep))) {
		int r = freeze_begin(sb, err);

		if (r < 0)
			return r;
		use.count--;
		use.memory_mib -= resources_get(sb, RESOURCE_MEMORY_MIB);
	}
	return 0;
}
