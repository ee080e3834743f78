#include "pffs/core/limits.h"

#include "pffs/core/files/files.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"
#include "util/io.h"

/* So that a limit of next to nothing does not keep pffs busy with who is in use. */
#define LOOK_AGAIN_MS 100u

bool limits_in_use(const struct sandbox *sb)
{
	return (sb->state != SANDBOX_READY && sb->state != SANDBOX_DEAD) || sb->freeze ||
	       sb->limits.open || sandbox_is_busy(sb) || files_busy(sb);
}

static uint64_t left_ms(uint64_t since_ns, uint64_t limit_ms)
{
	uint64_t gone = io_monotonic_ns() - since_ns, limit = limit_ms * 1000000u;

	return gone < limit ? (limit - gone + 999999u) / 1000000u : 0;
}

static void say_reached(struct sandbox *sb, const char *limit)
{
	sandbox_event(sb, "limit_reached", json_pack("{s:s}", "limit", limit));
}

/* What cannot be frozen stays, and is tried again after as long a time. */
static void put_away(struct sandbox *sb)
{
	struct error err;

	limits_used(sb);
	loop_timer_set(sb->core->loop, &sb->limits.idle, sb->limits.idle_ms);
	if (freeze_begin(sb, &err) < 0)
		freeze_failed(sb, &err);
}

static void idle_fired(struct loop_timer *timer)
{
	struct limits *limits = container_of(timer, struct limits, idle);
	struct sandbox *sb = container_of(limits, struct sandbox, limits);
	uint64_t left;

	if (limits_in_use(sb)) {
		limits_used(sb);
		loop_timer_set(sb->core->loop, timer,
			       limits->idle_ms > LOOK_AGAIN_MS ? limits->idle_ms
							       : LOOK_AGAIN_MS);
		return;
	}
	left = left_ms(limits->used_ns, limits->idle_ms);
	if (left) {
		loop_timer_set(sb->core->loop, timer, left);
		return;
	}
	say_reached(sb, "idle_timeout");
	if (limits->persistent && sb->state == SANDBOX_READY)
		put_away(sb);
	else
		sandbox_destroy(sb);
}

static void life_fired(struct loop_timer *timer)
{
	struct limits *limits = container_of(timer, struct limits, life);
	struct sandbox *sb = container_of(limits, struct sandbox, limits);

	if (!limits->over)
		say_reached(sb, "max_lifetime");
	limits->over = true;
	if (!sandbox_in_folder(sb->core, FOLDER_FORKS(sb->serial)))
		sandbox_destroy(sb);
}

void limits_init(struct sandbox *sb)
{
	sb->limits = (struct limits){.born_ns = io_monotonic_ns()};
	loop_timer_init(&sb->limits.idle, idle_fired);
	loop_timer_init(&sb->limits.life, life_fired);
}

void limits_inherit(struct sandbox *sb, const struct sandbox *parent)
{
	sb->limits.idle_ms = parent->limits.idle_ms;
	sb->limits.life_ms = parent->limits.life_ms;
	sb->limits.persistent = parent->limits.persistent;
}

static void arm(struct sandbox *sb)
{
	struct limits *limits = &sb->limits;

	loop_timer_cancel(&limits->idle);
	loop_timer_cancel(&limits->life);
	if (limits->seen && limits->idle_ms)
		loop_timer_set(sb->core->loop, &limits->idle,
			       left_ms(limits->used_ns, limits->idle_ms));
	if (limits->seen && limits->life_ms)
		loop_timer_set(sb->core->loop, &limits->life,
			       left_ms(limits->born_ns, limits->life_ms));
}

void limits_begin(struct sandbox *sb)
{
	sb->limits.seen = true;
	limits_used(sb);
	arm(sb);
}

/* It may have been made before this machine was started: only differences count. */
void limits_restore(struct sandbox *sb, uint64_t idle_ms, uint64_t life_ms, bool persistent)
{
	uint64_t created =
	    (uint64_t)sb->created.tv_sec * 1000000000u + (uint64_t)sb->created.tv_nsec;
	uint64_t now = io_realtime_ns();

	sb->limits.idle_ms = idle_ms;
	sb->limits.life_ms = life_ms;
	sb->limits.persistent = persistent;
	sb->limits.born_ns = io_monotonic_ns() - (now > created ? now - created : 0);
	limits_begin(sb);
}

void limits_end(struct sandbox *sb)
{
	sb->limits.seen = false;
	arm(sb);
}

void limits_set_idle(struct sandbox *sb, uint64_t ms)
{
	sb->limits.idle_ms = ms;
	journal_facts(sb);
	limits_used(sb);
	arm(sb);
}

void limits_set_life(struct sandbox *sb, uint64_t ms)
{
	sb->limits.life_ms = ms;
	sb->limits.over = false;
	journal_facts(sb);
	arm(sb);
}

void limits_set_persistent(struct sandbox *sb, bool persistent)
{
	sb->limits.persistent = persistent;
	journal_facts(sb);
}

void limits_used(struct sandbox *sb)
{
	sb->limits.used_ns = io_monotonic_ns();
}

void limits_open(struct sandbox *sb)
{
	sb->limits.open++;
}

void limits_close(struct sandbox *sb)
{
	sb->limits.open--;
	limits_used(sb);
}

/* Later, since who removes the fork has not done so altogether. */
void limits_fork_gone(struct core *core, uint64_t folder)
{
	struct sandbox *parent = sandbox_of_folder(core, folder);

	if (!parent)
		return;
	limits_used(parent);
	if (parent->limits.over)
		loop_timer_set(core->loop, &parent->limits.life, 0);
}

uint64_t limits_idle_left(const struct sandbox *sb)
{
	return limits_in_use(sb) ? sb->limits.idle_ms
				 : left_ms(sb->limits.used_ns, sb->limits.idle_ms);
}

uint64_t limits_life_left(const struct sandbox *sb)
{
	return left_ms(sb->limits.born_ns, sb->limits.life_ms);
}
