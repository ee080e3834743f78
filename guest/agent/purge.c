/*
 * Theory of operation
 *
 * A cgroup can be killed as a whole, but not in part. So it is frozen, after which
 * its processes start no others, and looked through again and again until only
 * survivors are found; these are then let go on. A frozen process dies of SIGKILL
 * all the same. Without a cgroup the passes alone must do.
 */
#include "guest/agent/purge.h"

#include "guest/agent/log.h"

#include <signal.h>
#include <stdlib.h>

#define PURGE_MSECS  4	 /* between two passes */
#define PURGE_PASSES 500 /* a process in uninterruptible sleep may never die */

struct purge {
	struct loop *loop;
	struct loop_timer timer;
	struct group *group;
	struct procs survivors;
	int passes;
};

/* Return: how many processes are still to die. */
static size_t kill_others(const struct group *group, const struct procs *survivors)
{
	struct procs now = group_list(group);
	size_t victims = 0;

	for (size_t i = 0; i < now.count; i++) {
		if (procs_have(survivors, &now.list[i]))
			continue;
		victims++;
		kill(now.list[i].pid, SIGKILL);
	}
	procs_fini(&now);
	return victims;
}

static void purge_end(struct group *group, struct procs *survivors)
{
	group_freeze(group, false);
	group_abandon(group);
	procs_fini(survivors);
}

static void purge_pass(struct loop_timer *timer)
{
	struct purge *purge = container_of(timer, struct purge, timer);
	size_t victims = kill_others(purge->group, &purge->survivors);

	if (victims && ++purge->passes < PURGE_PASSES) {
		loop_timer_set(purge->loop, &purge->timer, PURGE_MSECS);
		return;
	}
	if (victims)
		log_say("%zu processes of a killed run do not end", victims);
	purge_end(purge->group, &purge->survivors);
	free(purge);
}

void purge(struct loop *loop, struct group *group, struct procs *survivors)
{
	struct purge *purge = calloc(1, sizeof(*purge));

	group_freeze(group, true);
	if (!purge) {
		kill_others(group, survivors);
		purge_end(group, survivors);
		return;
	}
	*purge = (struct purge){.loop = loop, .group = group, .survivors = *survivors};
	*survivors = (struct procs){0};
	loop_timer_init(&purge->timer, purge_pass);
	purge_pass(&purge->timer);
}
