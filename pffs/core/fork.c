#include "pffs/core/fork.h"

#include "pffs/core/guest.h"

#include <errno.h>
#include <string.h>

struct fork {
	struct link link;	/* on parent->forks until vmctl has answered */
	struct sandbox *parent; /* reference */
	char name[SANDBOX_NAME_MAX + 1];
	uid_t uid;
	gid_t gid;
	bool asked; /* vmctl has been */
	fork_done_fn *done;
	void *ctx;
};

static void finish(struct fork *fork, struct sandbox *child, const struct error *err)
{
	list_del(&fork->link);
	fork->done(fork->ctx, child, err);
	sandbox_unref(fork->parent);
	free(fork);
}

static bool is_pending(const struct sandbox *parent, const char *name)
{
	const struct fork *fork;

	list_for_each (fork, &parent->forks, struct fork, link)
		if (strcmp(fork->name, name) == 0)
			return true;
	return false;
}

int fork_begin(struct sandbox *parent, const char *name, uid_t uid, gid_t gid,
	       fork_done_fn *done, void *ctx, struct error *err)
{
	int r = sandbox_check_name(parent->core, FOLDER_FORKS(parent->serial), name, err);
	struct fork *fork;

	if (r < 0)
		return r;
	if (is_pending(parent, name))
		return error_say(err, EEXIST, "there is a sandbox %s already", name);
	if (parent->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", parent->name, parent->reason);
	fork = calloc(1, sizeof(*fork));
	if (!fork)
		return error_say(err, ENOMEM, "no memory for another sandbox");
	*fork = (struct fork){.parent = sandbox_ref(parent),
			      .uid = uid,
			      .gid = gid,
			      .done = done,
			      .ctx = ctx};
	strcpy(fork->name, name);
	list_add_before(&parent->forks, &fork->link);
	fork_next(parent);
	return 0;
}

/* The child's record of the run that goes on in both. */
static int copy_run(const struct sandbox *parent, struct sandbox *child)
{
	struct run *run = parent->current ? run_fork(parent->current, child) : NULL;

	if (parent->current && !run)
		return -ENOMEM;
	child->last_number = parent->last_number;
	if (run) {
		sandbox_add_run(child, run);
		child->current = run;
		child->last_number = parent->last_number;
	}
	return buf_append(&child->in, buf_peek(&parent->in), parent->in.len);
}

static struct sandbox *make_child(const struct fork *fork, uint32_t vm, int pid,
				  struct error *err)
{
	struct sandbox *parent = fork->parent;
	struct sandbox *child =
	    sandbox_new(parent->core, FOLDER_FORKS(parent->serial), fork->name,
			parent->template, fork->uid, fork->gid, err);

	if (!child)
		return NULL;
	strcpy(child->parent_id, parent->id);
	child->generation = parent->generation + 1;
	child->exec_timeout_ms = parent->exec_timeout_ms;
	child->epoch = parent->epoch;
	child->vm = vm;
	child->pid = pid;
	vmm_attach(&parent->core->vmm, &child->channel, vm);
	sandbox_event(child, "forked", json_pack("{s:s}", "parent", parent->id));
	if (copy_run(parent, child) == 0)
		return child;
	error_say(err, ENOMEM, "no memory for the run of the fork");
	sandbox_destroy(child);
	return NULL;
}

static void answered(void *ctx, json_t *reply, const struct error *failed)
{
	struct fork *fork = ctx;
	struct sandbox *parent = sandbox_ref(fork->parent), *child = NULL;
	struct error err = {.code = -EIO, .text = "vmctl sent a reply without a VM"};
	json_int_t vm = 0;
	int pid = 0;

	if (reply)
		json_unpack(reply, "{s:[{s:I, s?i}]}", "vms", "vm", &vm, "pid", &pid);
	if (failed)
		err = *failed;
	if (vm && parent->state == SANDBOX_READY)
		child = make_child(fork, (uint32_t)vm, pid, &err);
	else if (vm)
		sandbox_discard_vm(parent->core, (uint32_t)vm);
	if (child) {
		list_del(&fork->link);
		child->birth = fork;
		guest_wake(child);
	} else {
		finish(fork, NULL, &err);
	}
	guest_resume(parent);
	fork_next(parent);
	sandbox_unref(parent);
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

void fork_next(struct sandbox *parent)
{
	struct fork *fork = first(parent);

	if (!fork || fork->asked || parent->state != SANDBOX_READY ||
	    parent->channel.out.len)
		return;
	fork->asked = true;
	vmm_request(&parent->core->vmm,
		    json_pack("{s:s, s:I, s:[s]}", "op", "fork", "vm",
			      (json_int_t)parent->vm, "names", fork->name),
		    answered, fork);
}

void fork_settled(struct sandbox *child)
{
	struct fork *fork = child->birth;
	struct error err;

	if (!fork)
		return;
	child->birth = NULL;
	if (child->state == SANDBOX_READY) {
		finish(fork, child, NULL);
		return;
	}
	error_say(&err, EIO, "the fork died before it woke: %s", child->reason);
	finish(fork, NULL, &err);
	if (!child->gone)
		sandbox_destroy(child);
}

void fork_parent_ended(struct sandbox *parent, const char *reason)
{
	struct fork *fork;
	struct error err;

	error_say(&err, EIO, "%s cannot be forked: %s", parent->name, reason);
	list_for_each (fork, &parent->forks, struct fork, link)
		if (!fork->asked)
			finish(fork, NULL, &err);
}
