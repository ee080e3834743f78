/*
 * Limits of what a sandbox takes: guest and vmctl are told when that can be, forks have
 * those of their parent, and nothing is made beyond the caps of the host.
 */
#include "tests/unit/forks.h"

static const char *const name_a[] = {"a"};

static int set(struct sandbox *sb, enum resource which, uint32_t value)
{
	struct error err = {0};

	return resources_set(sb, which, value, &err);
}

static int told_limits(unsigned vm)
{
	uint32_t streams[8];

	return heard(vm, AGENT_LIMITS, streams);
}

static void the_guest_is_told(struct sandbox *sb)
{
	is_int((int)resources_get(sb, RESOURCE_MEMORY_MIB), 128,
	       "it has what its machine has");
	is_int(told_limits(PARENT), 0, "of no limits nobody is told");
	is_int(set(sb, RESOURCE_MEMORY_MIB, 100), 0, "memory is limited");
	is_int((int)resources_get(sb, RESOURCE_MEMORY_MIB), 100, "which is kept");
	is_int(told_limits(PARENT), 1, "and told to the guest at once");
	is_int(set(sb, RESOURCE_MEMORY_MIB, 100), 0, "once more");
	is_int(told_limits(PARENT), 0, "is nothing to tell");
	is_int(set(sb, RESOURCE_MEMORY_MIB, 129), -EINVAL, "more than there is cannot be");
	is_int(set(sb, RESOURCE_MEMORY_MIB, 1), -EINVAL, "nor too little");
	is_int((int)resources_get(sb, RESOURCE_MEMORY_MIB), 100, "which changes nothing");
}

static void vmctl_is_told(struct sandbox *sb)
{
	struct error err;

	is_int(set(sb, RESOURCE_CPU_PERCENT, 30), -ENOTSUP,
	       "a vmctl that cannot limit CPUs");
	core.options.config.number[CONFIG_RESOURCES + RESOURCE_CPU_PERCENT] = 30;
	is_int(config_check_host(&core, &err), -ENOTSUP, "does not do for such a default");
	core.limits_cpu = true;
	is_int(config_check_host(&core, &err), 0, "one that can does");
	core.options.config = (struct config){0};
	is_int(set(sb, RESOURCE_CPU_PERCENT, 30), 0, "and for what is set later");
	is_str(asked_for(), "limit", "is asked to");
	is_int((int)json_integer_value(json_object_get(asked, "cpu_percent")), 30,
	       "as much");
	answer_error(ENOENT);
	ok(sb->error.text[0], "what it cannot do is told by `error`");
	told_limits(PARENT);
}

/* Who gets what is sent while the machine is being forked is not known. */
static void a_fork_is_waited_for(struct sandbox *sb)
{
	struct sandbox *a;

	order(sb, name_a, 1);
	is_str(asked_for(), "fork", "it is forked");
	set(sb, RESOURCE_PIDS, 50);
	is_int(told_limits(PARENT), 0, "while it is, the guest is told nothing");
	answer_vms(20, 1);
	awake(20, 2);
	a = child(sb, "a");
	is_int(told_limits(PARENT), 1, "then it is");
	is_int(told_limits(20), 0, "the fork is not, since it has the limits that");
	is_int((int)resources_get(a, RESOURCE_PIDS), 0,
	       "its parent had when it was asked for");
	is_int((int)resources_get(a, RESOURCE_MEMORY_MIB), 100, "all of them");
	is_int((int)a->resources.quota, 30, "vmctl has seen to its CPUs by itself");
}

static unsigned count_of(struct sandbox *sb, const char *what)
{
	char text[4096] = {0};
	unsigned count = 0;

	stream_read(&sandbox_newest(sb)->streams[RUN_STDERR], 0, text, sizeof(text) - 1);
	for (const char *at = text; (at = strstr(at, what)); at++)
		count++;
	return count;
}

static void a_run_is_told(struct sandbox *sb)
{
	const struct run *run = submit(sb, "x = 1");

	say(PARENT, run->number, AGENT_OUT_OF_MEMORY, NULL, 0);
	say(PARENT, run->number, AGENT_OUT_OF_MEMORY, NULL, 0);
	is_int((int)count_of(sb, "out of memory"), 1,
	       "a run that lacks memory is told, once");
	is_int((int)count_of(sb, "100 MiB"), 1, "how much there is");
	ok(strstr(sb->error.text, "out of memory"), "and so is `error`");
	say_exit(PARENT, run->number, 1, 9);
	is_int(run->exit_code, 137, "it ends as its process did");
}

static void caps_hold(struct sandbox *sb)
{
	static const char *const names[] = {"b", "c"};

	is_int((int)caps_memory_mib(&core), 200, "memory counts as it is limited");
	core.options.caps.sandboxes = 3;
	is_int(order(sb, names, 2), -ENOSPC, "of two forks for one of which there is room");
	ok(!child(sb, "b"), "none is made");
	core.options.caps.sandboxes = 0;
	core.options.caps.memory_mib = 250;
	is_int(order(sb, names, 1), -ENOMEM, "one without memory for it is not, either");
	is_int(set(child(sb, "a"), RESOURCE_MEMORY_MIB, 0), 0,
	       "a limit is lifted: 228 of 250");
	is_int(set(sb, RESOURCE_MEMORY_MIB, 0), -ENOMEM, "but not beyond the cap");
	core.options.caps.freeze = true;
	is_int(order(sb, names, 1), -ENOMEM, "nothing is idle that could be frozen");
	sandbox_die(child(sb, "a"), "a test");
	is_int((int)caps_memory_mib(&core), 100, "what is dead does not count");
	is_int(order(sb, names, 1), 0, "so there is room again");
	fork_cancel(ordered);
}

int main(void)
{
	struct sandbox *sb;

	begin_world();
	sb = make_parent();
	the_guest_is_told(sb);
	vmctl_is_told(sb);
	a_fork_is_waited_for(sb);
	a_run_is_told(sb);
	caps_hold(sb);
	end_world();
	return done_testing();
}
