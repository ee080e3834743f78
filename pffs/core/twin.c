#include "pffs/core/twin.h"

#include "pffs/core/guest/guest.h"
#include "pffs/core/record/journal.h"

#include <errno.h>
#include <stdlib.h>

#define WAKE_MS	  30000u
#define LINGER_MS 1000u /* awake without a user: there may be another one soon */

/*
 * States of the machine: FROZEN it is parked, or was told to be; STARTING it was told
 * to run, and has not answered; READY; DEAD.
 */
struct twin {
	struct sandbox *point; /* reference; in FOLDER_HIDDEN until it is destroyed */
	unsigned holders;      /* children, and who makes it */
	unsigned users;	       /* told that it is awake, or going to be */
	bool woken;	       /* by WAKE, once and for all */
	int64_t moment;	       /* that it is of, see lineage.h */
	struct link waiting;   /* struct waiter */
	struct loop_timer linger;
};

struct waiter {
	struct link link;
	twin_fn *ready;
	void *ctx;
};

static void ask(struct twin *twin, const char *op, vmm_reply_fn *fn, void *ctx)
{
	vmm_ask(&twin->point->core->vmm, op, twin->point->vm, fn, ctx);
}

static void free_if_unused(struct twin *twin)
{
	if (twin->holders || twin->users)
		return;
	loop_timer_cancel(&twin->linger);
	twin->point->twin = NULL;
	if (!twin->point->gone)
		sandbox_destroy(twin->point);
	sandbox_unref(twin->point);
	free(twin);
}

void twin_discard(struct twin *twin)
{
	twin->holders--;
	free_if_unused(twin);
}

static void drop_user(struct twin *twin)
{
	twin->users--;
	if (!twin->users && twin->point->state == SANDBOX_READY)
		loop_timer_set(twin->point->core->loop, &twin->linger, LINGER_MS);
	free_if_unused(twin);
}

/* Tell all who wait that it is awake, or of @err. */
static void tell(struct twin *twin, const struct error *err)
{
	struct waiter *waiter;

	twin->holders++; /* it outlives who is told */
	while (!list_empty(&twin->waiting)) {
		waiter = container_of(twin->waiting.next, struct waiter, link);
		list_del(&waiter->link);
		waiter->ready(waiter->ctx, err ? NULL : twin->point, err);
		if (err)
			drop_user(twin);
		free(waiter);
	}
	twin_discard(twin);
}

static void is_awake(struct twin *twin)
{
	twin->point->state = SANDBOX_READY;
	loop_timer_cancel(&twin->point->limit);
	if (twin->users)
		tell(twin, NULL);
	else
		loop_timer_set(twin->point->core->loop, &twin->linger, LINGER_MS);
}

void twin_awake(struct sandbox *point)
{
	struct twin *twin = point->twin;

	if (!twin)
		return;
	twin->woken = true;
	is_awake(twin);
}

void twin_ended(struct sandbox *point)
{
	struct error err;

	if (!point->twin)
		return;
	error_say(&err, EIO, "the fork point is lost: %s", point->reason);
	tell(point->twin, &err);
}

static void park_it(struct loop_timer *timer)
{
	struct twin *twin = container_of(timer, struct twin, linger);

	if (twin->users || twin->point->state != SANDBOX_READY)
		return;
	twin->point->state = SANDBOX_FROZEN;
	ask(twin, "park", NULL, NULL);
}

/* Whoever makes it holds it. Return: NULL without memory. */
static struct twin *make(struct sandbox *point)
{
	struct twin *twin = calloc(1, sizeof(*twin));

	if (!twin)
		return NULL;
	twin->point = sandbox_ref(point);
	twin->holders = 1;
	list_init(&twin->waiting);
	loop_timer_init(&twin->linger, park_it);
	point->twin = twin;
	return twin;
}

struct twin *twin_new(struct sandbox *parent)
{
	struct sandbox *point;
	struct twin *twin;
	char name[SANDBOX_NAME_MAX + 1];
	struct error ignored;

	snprintf(name, sizeof(name), "%.59s-twin", parent->name);
	point = sandbox_new(parent->core, FOLDER_HIDDEN, name, parent->template, 0, 0,
			    &ignored);
	if (!point)
		return NULL;
	point->image = parent->image;
	net_close(point);
	twin = make(point);
	if (!twin)
		sandbox_destroy(point);
	return twin;
}

const char *twin_id(const struct twin *twin)
{
	return twin->point->id;
}

const char *twin_name(const struct twin *twin)
{
	return twin->point->name;
}

void twin_adopt(struct twin *twin, const struct sandbox *parent, uint32_t vm, int pid,
		int64_t moment)
{
	struct sandbox *point = twin->point;

	twin->moment = moment;
	if (point->gone) {
		sandbox_discard_vm(point->core, vm);
		return;
	}
	point->epoch = parent->epoch;
	point->heard = parent->heard;
	sandbox_adopt_vm(point, vm, pid, 0);
	loop_timer_cancel(&point->limit);
	point->state = SANDBOX_FROZEN;
	if (buf_append(&point->in, buf_peek(&parent->in), parent->in.len) < 0)
		sandbox_die(point, "no memory for a fork point");
	else
		journal_begin(point);
}

void twin_hold(struct twin *twin, struct sandbox *child)
{
	twin->holders++;
	child->base = twin;
}

void twin_restored(struct sandbox *point)
{
	limits_end(point);
	if (!make(point))
		sandbox_die(point, "no memory for a fork point");
}

void twin_restore(struct sandbox *child, const char *id)
{
	const struct sandbox *point = sandbox_of_id(child->core, id);

	if (point && point->twin)
		twin_hold(point->twin, child);
	child->base_lost &= !child->base;
}

void twins_restored(struct core *core)
{
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sb->twin)
			twin_discard(sb->twin);
}

void twin_drop(struct sandbox *child)
{
	struct twin *twin = child->base;

	child->base = NULL;
	if (twin)
		twin_discard(twin);
}

bool sandbox_has_base(const struct sandbox *sb)
{
	return sb->base || sb->base_lost;
}

static void resumed(void *ctx, json_t *reply, const struct error *err)
{
	struct twin *twin = ctx;

	if (!reply && twin->point->state == SANDBOX_STARTING)
		sandbox_die(twin->point, err->text);
	else if (twin->woken && twin->point->state == SANDBOX_STARTING)
		is_awake(twin);
	twin_discard(twin);
}

/* What it is told is there before its first instruction. */
static void have_it_run(struct twin *twin)
{
	struct sandbox *point = twin->point;

	point->state = SANDBOX_STARTING;
	loop_timer_set(point->core->loop, &point->limit, WAKE_MS);
	twin->holders++;
	net_apply(point);
	if (!twin->woken)
		guest_wake_frozen(point);
	ask(twin, "resume", resumed, twin);
}

/* What the former pffs had it do is not asked: it is told anew what to stop. */
void twin_attached(struct sandbox *point)
{
	struct twin *twin = point->twin;

	point->state = SANDBOX_FROZEN;
	if (!twin)
		return;
	ask(twin, "park", NULL, NULL);
	if (twin->users)
		have_it_run(twin);
}

static void refuse(twin_fn *ready, void *ctx, int code, const char *sentence)
{
	struct error err;

	error_say(&err, code, "%s", sentence);
	ready(ctx, NULL, &err);
}

void twin_use(struct sandbox *sb, twin_fn *ready, void *ctx)
{
	struct twin *twin = sb->base;
	struct waiter *waiter;

	if (!twin || twin->point->state == SANDBOX_DEAD) {
		refuse(ready, ctx, EIO,
		       twin ? twin->point->reason
			    : "the fork point is lost: it ended with a former pffs, or "
			      "its vmctl");
		return;
	}
	waiter = malloc(sizeof(*waiter));
	if (!waiter) {
		refuse(ready, ctx, ENOMEM, "no memory to read a fork point");
		return;
	}
	*waiter = (struct waiter){.ready = ready, .ctx = ctx};
	list_add_before(&twin->waiting, &waiter->link);
	twin->users++;
	loop_timer_cancel(&twin->linger);
	if (twin->point->state == SANDBOX_READY)
		tell(twin, NULL);
	else if (twin->point->state == SANDBOX_FROZEN)
		have_it_run(twin);
}

int64_t twin_moment(const struct sandbox *sb)
{
	return sb->base ? sb->base->moment : 0;
}

void twin_done(struct sandbox *point)
{
	if (point->twin)
		drop_user(point->twin);
}
