#include "pffs/core/fork.h"

#include "pffs/core/caps.h"
#include "pffs/core/diff/lineage.h"
#include "pffs/core/files/files.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/net/connection.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/template.h"
#include "pffs/core/terminal.h"
#include "pffs/core/twin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How long a guest may leave what was sent to it in its port. */
#define PATIENCE_MS 10000u

/* How long a guest may take to say what time it is. Without that a comparison of files
 * has to look at more of them. */
#define MARK_MS 500u

/* How long all children of a fork may take to wake. */
#define WAKE_MS(count) (30000u + 1000u * (uint64_t)(count))

/*
 * Invariant: children[i]->birth is the fork as long as it waits for that child;
 * @waiting counts these.
 */
struct fork {
	struct link link;	      /* on parent->forks until vmctl has answered */
	struct sandbox *parent;	      /* reference */
	struct twin *twin;	      /* their fork point, or NULL: the template's image */
	struct loop_timer patience;   /* while the guest has not taken what it was sent */
	struct files_call *mark_call; /* on its way to the parent; or NULL */
	struct loop_timer mark_limit;
	int64_t moment;	     /* just before the fork, see lineage.h; 0: not known */
	bool marked;	     /* nobody is to be asked for it any more */
	struct policy *told; /* reference: that vmctl gives the children; or NULL */
	bool early;
	bool asked;    /* vmctl has been */
	bool answered; /* and has answered */
	fork_done_fn *done;
	void *ctx;
	json_int_t pause_usec;
	size_t count, waiting;
	struct sandbox *children[]; /* references */
};

/* Told once. What vmctl still has to answer keeps the structure. */
static void tell(struct fork *fork, const struct error *err)
{
	fork_done_fn *done = fork->done;

	fork->done = NULL;
	if (done)
		done(fork->ctx, fork->children, err);
}

static void mark_cancel(struct fork *fork)
{
	loop_timer_cancel(&fork->mark_limit);
	if (fork->mark_call)
		files_cancel(fork->mark_call);
	fork->mark_call = NULL;
}

static void release(struct fork *fork)
{
	if (fork->asked && !fork->answered)
		return;
	list_del(&fork->link);
	connections_resume(fork->parent);
	loop_timer_cancel(&fork->patience);
	mark_cancel(fork);
	for (size_t i = 0; i < fork->count; i++)
		sandbox_unref(fork->children[i]);
	if (fork->twin)
		twin_discard(fork->twin);
	policy_unref(fork->told);
	sandbox_unref(fork->parent);
	free(fork);
}

static void let_child_go(struct fork *fork, struct sandbox *child)
{
	child->birth = NULL;
	fork->waiting--;
}

/* Nothing stays but what was in the world before: that is dead. */
static void fail(struct fork *fork, const struct error *err)
{
	for (size_t i = 0; i < fork->count; i++) {
		struct sandbox *child = fork->children[i];

		if (child->birth)
			let_child_go(fork, child);
		if (child->gone)
			continue;
		if (fork->early)
			sandbox_die(child, err->text);
		else
			sandbox_destroy(child);
	}
	tell(fork, err);
	release(fork);
}

static bool of_template(const struct fork *fork)
{
	return fork->parent->folder == FOLDER_HIDDEN;
}

static void announce(const struct fork *fork, struct sandbox *child)
{
	if (of_template(fork))
		sandbox_event(child, "created",
			      json_pack("{s:s}", "template", fork->parent->name));
	else
		sandbox_event(child, "forked",
			      json_pack("{s:s, s:I}", "parent", fork->parent->id,
					"pause_usec", fork->pause_usec));
	limits_begin(child);
	journal_begin(child);
	ports_begin(child);
}

/* What ended while nobody saw the child. */
static void tell_of_runs(struct sandbox *child)
{
	const struct run *run;

	list_for_each (run, &child->runs, struct run, link)
		if (run->state == RUN_ENDED)
			sandbox_event_ended(child, run);
}

/* One that had woken may have died while it waited for the others. */
static const struct sandbox *find_dead(const struct fork *fork)
{
	for (size_t i = 0; i < fork->count && !fork->early; i++)
		if (fork->children[i]->state == SANDBOX_DEAD)
			return fork->children[i];
	return NULL;
}

static void fail_by(struct fork *fork, const struct sandbox *child)
{
	struct error err;

	error_say(&err, EIO, "the fork %s died before all had woken: %s", child->name,
		  child->reason);
	fail(fork, &err);
}

/* The children have settled: the world sees them, and their queues go on. */
static void succeed(struct fork *fork)
{
	const struct sandbox *dead = find_dead(fork);

	if (dead) {
		fail_by(fork, dead);
		return;
	}
	for (size_t i = 0; i < fork->count && !fork->early; i++) {
		fork->children[i]->making = false;
		announce(fork, fork->children[i]);
		tell_of_runs(fork->children[i]);
	}
	journal_facts(fork->parent);
	tell(fork, NULL);
	for (size_t i = 0; i < fork->count && !fork->early; i++)
		guest_go_on(fork->children[i]);
	release(fork);
}

static void patience_ends(struct loop_timer *timer);
static void mark_ends(struct loop_timer *timer);

/* Of an image everybody knows what was in it. */
static bool needs_twin(const struct sandbox *parent)
{
	return parent->folder != FOLDER_HIDDEN ||
	       parent->core->templates.list[parent->template].made;
}

static struct fork *fork_new(struct sandbox *parent, const struct fork_order *order)
{
	struct fork *fork =
	    calloc(1, sizeof(*fork) + order->count * sizeof(struct sandbox *));

	if (!fork)
		return NULL;
	fork->twin = needs_twin(parent) ? twin_new(parent) : NULL;
	if (needs_twin(parent) && !fork->twin) {
		free(fork);
		return NULL;
	}
	fork->parent = sandbox_ref(parent);
	fork->early = order->early;
	loop_timer_init(&fork->patience, patience_ends);
	loop_timer_init(&fork->mark_limit, mark_ends);
	list_add_before(&parent->forks, &fork->link);
	return fork;
}

/* The next number of the parent that is nobody's name. */
static void next_number(struct sandbox *parent, folder_t folder, char name[16])
{
	struct error ignored;

	do
		snprintf(name, 16, "%u", ++parent->fork_number);
	while (sandbox_check_name(parent->core, folder, name, &ignored) < 0);
}

static int add_child(struct fork *fork, const struct fork_order *order, struct error *err)
{
	struct sandbox *parent = fork->parent, *child;
	const char *name;
	char number[16];
	int r;

	if (!order->names)
		next_number(parent, order->folder, number);
	name = order->names ? order->names[fork->count] : number;
	r = sandbox_check_name(parent->core, order->folder, name, err);
	if (r < 0)
		return r;
	child = sandbox_new(parent->core, order->folder, name, parent->template, order->uid,
			    order->gid, err);
	if (!child)
		return err->code;
	child->image = parent->image;
	child->making = !order->early;
	resources_inherit(child, parent);
	net_inherit(child, parent);
	child->birth = fork;
	fork->children[fork->count++] = sandbox_ref(child);
	fork->waiting++;
	r = of_template(fork) && order->folder != FOLDER_HIDDEN ? config_begin(child, err)
								: 0;
	if (r == 0 && fork->early)
		announce(fork, child);
	return r;
}

static uint64_t memory_of(const struct sandbox *parent, const struct fork_order *order)
{
	return order->count * resources_get(parent, RESOURCE_MEMORY_MIB);
}

static int admit(struct sandbox *parent, const struct fork_order *order, struct error *err)
{
	if (order->folder == FOLDER_HIDDEN)
		return 0;
	return caps_admit(parent->core, (unsigned)order->count, memory_of(parent, order),
			  parent, err);
}

static int check_order(struct sandbox *parent, const struct fork_order *order,
		       struct error *err)
{
	if (parent->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", parent->name, parent->reason);
	if (parent->merge || parent->merge_files || parent->hold)
		return error_say(err, EAGAIN, "%s is being merged: try again",
				 parent->name);
	if (order->count < 1 || order->count > FORK_MAX)
		return error_say(err, EINVAL, "one fork makes 1 to %d children", FORK_MAX);
	return admit(parent, order, err);
}

/* Who makes a sandbox does not wait until another one is frozen for it. A fork of one that
 * runs is made when there is room, and is not there before. */
static bool is_early(const struct sandbox *parent, const struct fork_order *order)
{
	return order->early ||
	       (parent->folder == FOLDER_HIDDEN && order->folder != FOLDER_HIDDEN &&
		caps_full(parent->core, (unsigned)order->count, memory_of(parent, order)));
}

static int begin(struct sandbox *parent, const struct fork_order *order, fork_done_fn *done,
		 void *ctx, struct error *err)
{
	struct fork *fork = fork_new(parent, order);
	int r = 0;

	if (!fork)
		return error_say(err, ENOMEM, "no memory for another sandbox");
	while (r == 0 && fork->count < order->count)
		r = add_child(fork, order, err);
	if (r < 0) {
		fork->early = false;
		fail(fork, err);
		return r;
	}
	fork->done = done;
	fork->ctx = ctx;
	if (order->handle)
		*order->handle = fork;
	if (fork->early)
		tell(fork, NULL);
	fork_next(parent);
	return 0;
}

int fork_begin(struct sandbox *parent, const struct fork_order *order, fork_done_fn *done,
	       void *ctx, struct error *err)
{
	struct fork_order admitted = *order;
	int r = check_order(parent, order, err);

	if (r < 0)
		return r;
	admitted.early = is_early(parent, order);
	return begin(parent, &admitted, done, ctx, err);
}

int fork_again(struct sandbox *parent, struct sandbox *child, struct error *err)
{
	const struct fork_order order = {.count = 1, .early = true};
	struct fork *fork;

	if (parent->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", parent->name, parent->reason);
	fork = fork_new(parent, &order);
	if (!fork)
		return error_say(err, ENOMEM, "no memory for another sandbox");
	child->image = parent->image;
	child->birth = fork;
	fork->children[fork->count++] = sandbox_ref(child);
	fork->waiting++;
	fork_next(parent);
	return 0;
}

void fork_cancel(struct fork *fork)
{
	struct sandbox *parent = sandbox_ref(fork->parent);
	struct error err;

	error_say(&err, EINTR, "making the fork was interrupted");
	fail(fork, &err);
	fork_next(parent);
	sandbox_unref(parent);
}

/* The child's record of the runs that go on in both. */
static int copy_runs(const struct sandbox *parent, struct sandbox *child)
{
	struct run *run, *copy;

	list_for_each (run, &parent->runs, struct run, link) {
		if (run != parent->current && run->state != RUN_QUEUED)
			continue;
		copy = run_fork(run, child);
		if (!copy)
			return -ENOMEM;
		sandbox_add_run(child, copy);
		if (run == parent->current)
			child->current = copy;
	}
	if (child->last_number < parent->last_number)
		child->last_number = parent->last_number;
	return buf_append(&child->in, buf_peek(&parent->in), parent->in.len);
}

/* The child has a machine, which does not know yet that it is another one. */
static void adopt(const struct fork *fork, struct sandbox *child, uint32_t vm, int pid)
{
	const struct sandbox *parent = fork->parent;

	if (!of_template(fork)) {
		strcpy(child->parent_id, parent->id);
		child->generation = parent->generation + 1;
		child->exec_timeout_ms = parent->exec_timeout_ms;
		limits_inherit(child, parent);
	}
	resources_forked(child, parent);
	child->epoch = parent->epoch;
	child->heard = parent->heard;
	sandbox_adopt_vm(child, vm, pid, WAKE_MS(fork->count));
	net_forked(child, fork->told);
	child->lineage = lineage_new(parent->lineage, fork->moment);
	if (fork->twin)
		twin_hold(fork->twin, child);
	if (copy_runs(parent, child) < 0 || terminals_fork(child, parent) < 0 ||
	    ports_fork(child, parent) < 0) {
		sandbox_die(child, "no memory for the runs of the fork");
		return;
	}
	if (fork->early)
		journal_begin(child);
	guest_wake(child);
}

static void give_twin_vm(const struct fork *fork, const json_t *made)
{
	uint32_t vm = (uint32_t)json_integer_value(json_object_get(made, "vm"));
	int pid = (int)json_integer_value(json_object_get(made, "pid"));

	if (fork->twin)
		twin_adopt(fork->twin, fork->parent, vm, pid, fork->moment);
}

/* Child @i has a VM now, if anybody still wants it. */
static void give_vm(struct fork *fork, size_t i, const json_t *made)
{
	struct sandbox *child = fork->children[i];
	uint32_t vm = (uint32_t)json_integer_value(json_object_get(made, "vm"));
	int pid = (int)json_integer_value(json_object_get(made, "pid"));

	if (child->birth == fork && fork->parent->state != SANDBOX_DEAD)
		adopt(fork, child, vm, pid);
	else
		sandbox_discard_vm(fork->parent->core, vm);
}

/*
 * The reply has a VM for each child. A child that fails ends the whole fork, and the
 * VMs that come after it in the reply are nobody's.
 */
static void take_reply(struct fork *fork, const json_t *reply)
{
	const json_t *vms = json_object_get(reply, "vms");
	struct error err;

	fork->pause_usec = json_integer_value(json_object_get(reply, "pause_usec"));
	fork->answered = false; /* stays until all VMs are given */
	if (!fork->parent->lineage)
		fork->parent->lineage = lineage_new(NULL, 0);
	give_twin_vm(fork, json_object_get(reply, "twin"));
	for (size_t i = 0; i < fork->count; i++)
		give_vm(fork, i, json_array_get(vms, i));
	fork->answered = true;
	if (fork->parent->state == SANDBOX_DEAD) {
		error_say(&err, EIO, "%s ended while it was forked: %s", fork->parent->name,
			  fork->parent->reason);
		fail(fork, &err);
	} else if (!fork->waiting) {
		release(fork);
	}
}

static void answered(void *ctx, json_t *reply, const struct error *failed)
{
	struct fork *fork = ctx;
	struct sandbox *parent = sandbox_ref(fork->parent);
	struct error err = {.code = -EPROTO, .text = "vmctl's reply lacks a VM"};

	list_del(&fork->link);
	if (json_array_size(json_object_get(reply, "vms")) == fork->count &&
	    !fork->twin == !json_object_get(reply, "twin")) {
		take_reply(fork, reply);
	} else {
		fork->answered = true;
		fail(fork, failed ? failed : &err);
	}
	guest_resume(parent);
	freeze_next(parent);
	fork_next(parent);
	sandbox_unref(parent);
}

static json_t *request(const struct fork *fork)
{
	json_t *names = json_array();

	for (size_t i = 0; i < fork->count; i++)
		json_array_append_new(names, json_string(fork->children[i]->name));
	return json_pack("{s:s, s:I, s:o, s:s*}", "op", "fork", "vm",
			 (json_int_t)fork->parent->vm, "names", names, "twin",
			 fork->twin ? twin_name(fork->twin) : NULL);
}

static struct fork *first(const struct sandbox *parent)
{
	return list_empty(&parent->forks)
		   ? NULL
		   : container_of(parent->forks.next, struct fork, link);
}

bool fork_in_flight(const struct sandbox *parent)
{
	const struct fork *fork = first(parent);

	return fork && fork->asked;
}

bool fork_waits(const struct sandbox *parent)
{
	const struct fork *fork = first(parent);

	return fork && !fork->asked && !fork->mark_call && !caps_full(parent->core, 0, 0);
}

static void have_mark(void *ctx, const struct files_reply *reply)
{
	struct fork *fork = ctx;

	fork->mark_call = NULL;
	mark_cancel(fork);
	if (!reply->error && reply->value < INT64_MAX)
		fork->moment = (int64_t)reply->value;
	fork_next(fork->parent);
}

static void mark_ends(struct loop_timer *timer)
{
	struct fork *fork = container_of(timer, struct fork, mark_limit);

	mark_cancel(fork);
	fork_next(fork->parent);
}

/*
 * Have the parent's guest say what time it is. Return: whether that is being waited for.
 * To send the question may come here again, since what is sent makes room for forks.
 */
static bool mark(struct fork *fork)
{
	static const struct files_request request = {.op = FILES_MARK};
	struct sandbox *parent = fork->parent;

	if (fork->marked)
		return fork->mark_limit.deadline_ns;
	fork->marked = true;
	if (parent->state != SANDBOX_READY || !parent->notes_changes)
		return false;
	loop_timer_set(parent->core->loop, &fork->mark_limit, MARK_MS);
	if (files_request(parent, &request, have_mark, fork, &fork->mark_call) < 0)
		mark_cancel(fork);
	return fork->mark_limit.deadline_ns;
}

static void patience_ends(struct loop_timer *timer)
{
	struct fork *fork = container_of(timer, struct fork, patience);
	struct sandbox *parent = sandbox_ref(fork->parent);
	struct error err;

	error_say(&err, EAGAIN, "the guest of %s does not read its agent's port: try again",
		  parent->name);
	fail(fork, &err);
	fork_next(parent);
	sandbox_unref(parent);
}

/* Who is in the world already may have been given another policy than its parent's. */
static void settle_policy(struct fork *fork)
{
	struct sandbox *parent = fork->parent;

	net_apply(parent);
	fork->told = parent->net.told ? policy_ref(parent->net.told) : NULL;
	for (size_t i = 0; i < fork->count && !fork->early; i++)
		net_inherit(fork->children[i], parent);
}

static void ask_next(struct sandbox *parent)
{
	struct fork *fork = first(parent);

	if (fork && !fork->asked)
		freeze_use(parent);
	if (!fork || fork->asked || freeze_holds(parent) || parent->saving ||
	    caps_full(parent->core, 0, 0) ||
	    (parent->state != SANDBOX_READY && parent->state != SANDBOX_FROZEN) ||
	    mark(fork))
		return;
	if (parent->channel.out.len) {
		if (!fork->patience.deadline_ns)
			loop_timer_set(parent->core->loop, &fork->patience, PATIENCE_MS);
		return;
	}
	loop_timer_cancel(&fork->patience);
	fork->asked = true;
	settle_policy(fork);
	vmm_request(&parent->core->vmm, request(fork), answered, fork);
}

void fork_next(struct sandbox *parent)
{
	ask_next(parent);
	files_next(parent);
}

void fork_settled(struct sandbox *child)
{
	struct fork *fork = child->birth;

	if (!fork)
		return;
	let_child_go(fork, child);
	fork->parent->fork_woke |= child->state == SANDBOX_READY;
	if (child->state != SANDBOX_READY && !fork->early) {
		fail_by(fork, child);
		return;
	}
	if (child->state == SANDBOX_READY && fork->early)
		guest_go_on(child);
	if (!fork->waiting)
		succeed(fork);
}

void fork_overdue(struct sandbox *child)
{
	struct sandbox *parent = sandbox_ref(child->birth->parent);

	sandbox_die(child, "the guest did not become ready in time");
	if (!parent->fork_woke)
		template_failed(parent, "none of its forks became ready in time");
	sandbox_unref(parent);
}

void fork_parent_ended(struct sandbox *parent, const char *reason)
{
	struct fork *fork;
	struct error err;

	error_say(&err, EIO, "%s cannot be forked: %s", parent->name, reason);
	list_for_each (fork, &parent->forks, struct fork, link)
		if (!fork->asked)
			fail(fork, &err);
}
