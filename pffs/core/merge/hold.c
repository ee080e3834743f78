#include "pffs/core/merge/hold.h"

#include <errno.h>
#include <stdlib.h>

#define TIME_MS	 60000u
#define AGAIN_MS 20000u
#define STOP_MS	 15000u /* for the guest's answer */

/* Invariant: sb->hold is it for as long as it lives. */
struct hold {
	struct sandbox *sb; /* reference */
	struct loop_timer timer;
	hold_fn *done; /* NULL: it was called */
	void *ctx;
};

static void ask(struct hold *hold, uint32_t msecs)
{
	struct sandbox *sb = hold->sb;

	if (sb->state == SANDBOX_DEAD)
		return;
	agent_put_hold(&sb->channel.out, sb->epoch, msecs);
	vmm_flush(&sb->channel);
}

static void tell(struct hold *hold, const struct error *err)
{
	hold_fn *done = hold->done;

	hold->done = NULL;
	done(hold->ctx, err);
}

static void timer_fires(struct loop_timer *timer)
{
	struct hold *hold = container_of(timer, struct hold, timer);
	struct error err;

	if (hold->done) {
		error_say(&err, ETIMEDOUT, "the guest of %s does not answer: try again",
			  hold->sb->name);
		tell(hold, &err);
		return;
	}
	ask(hold, TIME_MS);
	loop_timer_set(hold->sb->core->loop, timer, AGAIN_MS);
}

struct hold *hold_begin(struct sandbox *sb, hold_fn *done, void *ctx)
{
	struct hold *hold = malloc(sizeof(*hold));

	if (!hold)
		return NULL;
	*hold = (struct hold){.sb = sandbox_ref(sb), .done = done, .ctx = ctx};
	sb->hold = hold;
	ask(hold, TIME_MS);
	loop_timer_init(&hold->timer, timer_fires);
	loop_timer_set(sb->core->loop, &hold->timer, STOP_MS);
	return hold;
}

void hold_end(struct hold *hold)
{
	ask(hold, 0);
	loop_timer_cancel(&hold->timer);
	hold->sb->hold = NULL;
	sandbox_unref(hold->sb);
	free(hold);
}

int hold_frame(struct sandbox *sb, const struct agent_frame *frame, struct error *err)
{
	struct hold *hold = sb->hold;
	uint8_t stopped;
	struct error say;
	int r = agent_get_held(frame, &stopped, err);

	if (r < 0 || !hold || !hold->done)
		return r;
	if (stopped) {
		loop_timer_set(sb->core->loop, &hold->timer, AGAIN_MS);
		tell(hold, NULL);
		return 0;
	}
	error_say(&say, EAGAIN, "a program of %s does not stop: try again", sb->name);
	tell(hold, &say);
	return 0;
}

void hold_ended(struct sandbox *sb)
{
	struct error err;

	if (!sb->hold || !sb->hold->done)
		return;
	error_say(&err, EIO, "%s has ended: %s", sb->name, sb->reason);
	tell(sb->hold, &err);
}
