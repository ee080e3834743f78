#include "pffs/core/merge/rouse.h"

#include "pffs/core/record/freeze.h"

#define LOOK_MS	     20u
#define RESUMES_EACH 2u

/* Return: whether @sb will have a machine, but has none now. */
static bool resumes(struct rouse *rouse, struct sandbox *sb)
{
	if (sb->state == SANDBOX_STORED && !sb->freeze &&
	    rouse->resumed < RESUMES_EACH * (rouse->count + 1)) {
		rouse->resumed++;
		freeze_use(sb);
	}
	return sb->freeze;
}

static bool somebody_resumes(struct rouse *rouse)
{
	struct sandbox *sb = rouse->sb, *fork;
	bool some = resumes(rouse, sb);

	for (size_t i = 0; i < rouse->count; i++) {
		fork = sandbox_find(sb->core, FOLDER_FORKS(sb->serial), rouse->forks[i]);
		some |= fork && resumes(rouse, fork);
	}
	return some;
}

static void look(struct loop_timer *timer)
{
	struct rouse *rouse = container_of(timer, struct rouse, timer);

	if (somebody_resumes(rouse)) {
		loop_timer_set(rouse->sb->core->loop, timer, LOOK_MS);
		return;
	}
	rouse_cancel(rouse);
	rouse->done(rouse);
}

void rouse_begin(struct rouse *rouse, struct sandbox *sb, char *const *forks, size_t count,
		 void (*done)(struct rouse *rouse))
{
	*rouse = (struct rouse){
	    .sb = sandbox_ref(sb), .forks = forks, .count = count, .done = done};
	loop_timer_init(&rouse->timer, look);
	look(&rouse->timer);
}

void rouse_cancel(struct rouse *rouse)
{
	if (!rouse->sb)
		return;
	loop_timer_cancel(&rouse->timer);
	sandbox_unref(rouse->sb);
	rouse->sb = NULL;
}
