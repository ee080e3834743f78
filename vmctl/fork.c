#include "vmctl/fork.h"

#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/request.h"
#include "vmctl/vm_fork.h"
#include "vmctl/vmproc.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct fork {
	struct request *request;
	struct link children; /* struct vmproc, by its sibling, in order of @names */
	json_t *names;	      /* the twin's is the last */
	bool twin;
	int *fds;	       /* VMPROC_FDS per name; -1 when the process has them */
	unsigned count;	       /* of names */
	unsigned asked;	       /* names that the parent's process has been told */
	unsigned started;      /* children whose guests run */
	unsigned made;	       /* processes, as the parent's says */
	json_int_t agent_out;  /* where the streams part; -1 while unknown */
	json_int_t pause_usec; /* how long the parent has stood still */
	bool done;
};

int fork_errno(int errnum)
{
	switch (errnum) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ETOOMANYREFS:
		return ENOMEM;
	default:
		return errnum;
	}
}

static struct fork *find_fork(struct vmproc *parent)
{
	struct request *request;

	list_for_each (request, &parent->requests, struct request, vm_link)
		if (request->kind == REQUEST_FORK)
			return request->fork;
	return NULL;
}

static bool is_being_copied(const struct vmproc *parent)
{
	const struct request *request;

	list_for_each (request, &parent->requests, struct request, vm_link)
		if (request->kind == REQUEST_FORK || request->kind == REQUEST_FREEZE ||
		    request->kind == REQUEST_SAVE)
			return true;
	return false;
}

int fork_check_parent(const struct client *client, struct vmproc *parent, struct error *err)
{
	unsigned id = parent->channel.id;

	if (parent->facts->dead)
		return error_say(err, EIO, "VM %u is dead: %s", id, parent->facts->reason);
	if (parent->control_fd < 0)
		return error_say(err, EIO, "VM %u is ending", id);
	if (parent->channel.owner != client)
		return error_say(err, EPERM, "VM %u is another client's: attach it first",
				 id);
	if (is_being_copied(parent))
		return error_say(err, EAGAIN, "VM %u is being forked or frozen: try again",
				 id);
	return 0;
}

static void fail(struct fork *fork, const struct error *err)
{
	request_fail(fork->request, err);
}

static json_t *describe(const struct vmproc *child)
{
	return json_pack("{s:I, s:i}", "vm", (json_int_t)child->channel.id, "pid",
			 (int)child->facts->pid);
}

/* The reply comes where the streams part: behind what the parent has said. */
static void finish(struct fork *fork)
{
	struct client *client = fork->request->client;
	json_t *vms = json_array(), *twin = NULL;
	struct vmproc *child;

	list_for_each (child, &fork->children, struct vmproc, sibling)
		json_array_append_new(vms, describe(child));
	if (fork->twin) {
		twin = json_incref(json_array_get(vms, fork->count - 1));
		json_array_remove(vms, fork->count - 1);
	}
	reply(client, fork->request->seq,
	      json_pack("{s:o, s:o*, s:I}", "vms", vms, "twin", twin, "pause_usec",
			fork->pause_usec));
	list_for_each (child, &fork->children, struct vmproc, sibling) {
		list_del(&child->sibling);
		child->making = NULL;
		child->facts->seen = true;
		channel_attach(&child->channel, client, CHANNEL_NOW, NULL);
		if (child->facts->connected)
			netproc_tell(child);
	}
	fork->done = true;
	request_free(fork->request);
}

/* The children said themselves who they are. */
static void step(struct fork *fork)
{
	const struct channel *channel = &fork->request->vm->channel;

	if (fork->made == fork->count && fork->started == fork->count &&
	    channel_relayed(channel) == channel->limit)
		finish(fork);
}

static void on_cut(struct channel *channel)
{
	struct fork *fork = find_fork(container_of(channel, struct vmproc, channel));

	if (fork)
		step(fork);
}

/* As many of the names that are left as one message takes. */
static int ask(struct fork *fork, uint64_t agent_in, struct error *err)
{
	unsigned left = fork->count - fork->asked;
	unsigned count = left < VM_FORK_BATCH ? left : VM_FORK_BATCH;
	const int *fds = fork->fds + (size_t)fork->asked * VMPROC_FDS;
	json_t *names = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append(names, json_array_get(fork->names, fork->asked + i));
	fork->asked += count;
	return request_ask(fork->request,
			   json_pack("{s:s, s:o, s:I, s:b, s:b}", "op", "fork", "names",
				     names, "agent_in", (json_int_t)agent_in, "more",
				     count < left, "unborn", fork->twin && count == left),
			   fds, count * VMPROC_FDS, err);
}

static int prepare(struct fork *fork, struct error *err)
{
	struct vmproc *parent = fork->request->vm;
	json_t *name;
	size_t i;

	json_array_foreach(fork->names, i, name)
	{
		struct vmproc *child = vmproc_prepare(parent, json_string_value(name),
						      fork->fds + i * VMPROC_FDS, err);

		if (!child)
			return err->code = -fork_errno(-err->code);
		child->making = fork;
		child->facts->parked = fork->twin && i + 1 == fork->count;
		netproc_inherit(child, parent);
		list_add_before(&fork->children, &child->sibling);
	}
	return 0;
}

static struct fork *fork_new(struct client *client, json_t *seq, struct vmproc *parent,
			     json_t *names, const char *twin)
{
	struct fork *fork = calloc(1, sizeof(*fork));
	size_t count = json_array_size(names) + (twin ? 1 : 0), fds = count * VMPROC_FDS;

	if (!fork)
		return NULL;
	*fork = (struct fork){
	    .request = request_new(client, seq, parent, REQUEST_FORK),
	    .names = json_copy(names),
	    .twin = twin,
	    .fds = malloc(fds * sizeof(*fork->fds)),
	    .count = (unsigned)count,
	    .agent_out = -1,
	};
	list_init(&fork->children);
	if (twin)
		json_array_append_new(fork->names, json_string(twin));
	for (size_t i = 0; i < fds && fork->fds; i++)
		fork->fds[i] = -1;
	if (fork->request)
		fork->request->fork = fork;
	return fork;
}

static void fork_free(struct fork *fork)
{
	if (fork->fds)
		io_close_all(fork->fds, (size_t)fork->count * VMPROC_FDS);
	free(fork->fds);
	json_decref(fork->names);
	free(fork);
}

int fork_begin(struct client *client, json_t *seq, struct vmproc *parent, json_t *names,
	       const char *twin, struct error *err)
{
	int r = fork_check_parent(client, parent, err);
	struct fork *fork = r < 0 ? NULL : fork_new(client, seq, parent, names, twin);

	if (r < 0)
		return r;
	if (!fork || !fork->fds || !fork->request ||
	    json_array_size(fork->names) != fork->count)
		r = error_set(err, ENOMEM, "cannot fork a VM");
	if (!r)
		r = prepare(fork, err);
	if (!r)
		r = ask(fork, channel_hold(&parent->channel), err);
	if (r < 0 && fork && fork->request)
		request_free(fork->request);
	else if (r < 0 && fork)
		fork_free(fork);
	return r;
}

/* Take the answer to the last question. Return: whether it can be true. */
static bool take_answer(struct fork *fork, json_t *message)
{
	json_t *out = json_object_get(message, "agent_out");

	if (!json_is_integer(out) || json_integer_value(out) < 0 ||
	    fork->made + number_in(message, "made") != fork->asked)
		return false;
	if (fork->agent_out >= 0 && fork->agent_out != json_integer_value(out))
		return false;
	fork->agent_out = json_integer_value(out);
	fork->pause_usec = number_in(message, "pause_usec");
	/* Before, a process that had no room for them would look like dead children. */
	io_close_all(fork->fds, (size_t)fork->asked * VMPROC_FDS);
	fork->made = fork->asked;
	return true;
}

int fork_answer(struct request *request, json_t *message)
{
	struct channel *channel = &request->vm->channel;
	struct fork *fork = request->fork;
	bool first = fork->agent_out < 0;
	struct error err;

	if (!take_answer(fork, message)) {
		error_say(&err, EPROTO, "VM %u has lost count of its output", channel->id);
		fail(fork, &err);
		return -EPROTO;
	}
	if (fork->asked < fork->count && ask(fork, channel_fed(channel), &err) < 0) {
		fail(fork, &err);
		return 0;
	}
	if (!first) {
		step(fork);
		return 0;
	}
	if (channel_cut(channel, (uint64_t)fork->agent_out, on_cut) == 0)
		return 0;
	error_say(&err, EPROTO, "VM %u has lost count of its output", channel->id);
	fail(fork, &err);
	return -EPROTO;
}

void fork_started(struct vmproc *child)
{
	struct fork *fork = child->making;
	const struct vmproc *parent = fork->request->vm;
	struct error err;

	/* It is in its parent's cgroup, which is the parent's alone. */
	if (parent->facts->group_of &&
	    vmproc_limit(child, parent->facts->cpu_percent, &err) < 0) {
		fail(fork, &err);
		return;
	}
	netproc_look(child);
	fork->started++;
	request_wait(fork->request);
	step(fork);
}

void fork_child_dead(struct vmproc *child)
{
	struct fork *fork = child->making;
	struct error err;

	child->making = NULL;
	list_del(&child->sibling);
	/* Of a child that could not make its threads. */
	if (child->facts->errnum == EAGAIN)
		child->facts->errnum = ENOMEM;
	error_say(&err, child->facts->errnum ? fork_errno(child->facts->errnum) : EIO,
		  "the fork %s did not live: %s", child->facts->name, child->facts->reason);
	fail(fork, &err);
}

void fork_interrupt(struct vmproc *parent)
{
	struct request *request;
	struct error err;

	error_say(&err, EAGAIN, "another client has attached VM %u", parent->channel.id);
	list_for_each (request, &parent->requests, struct request, vm_link)
		if (request->kind == REQUEST_FORK || request->kind == REQUEST_FREEZE)
			request_fail(request, &err);
}

/* The process may still wait for its guest, or for the rest of the names. */
void fork_cancel(struct vmproc *parent)
{
	json_t *message = json_pack("{s:s, s:[], s:I}", "op", "fork", "names", "seq",
				    (json_int_t)++parent->facts->last_seq);

	if (message)
		vmproc_ask(parent, message, NULL, 0, NULL);
	json_decref(message);
}

void fork_end(struct request *request)
{
	struct fork *fork = request->fork;
	struct vmproc *child;

	if (!fork)
		return;
	if (fork->asked && !fork->done)
		fork_cancel(request->vm);
	list_for_each (child, &fork->children, struct vmproc, sibling) {
		list_del(&child->sibling);
		child->making = NULL;
		vmproc_destroy(child);
	}
	channel_release(&request->vm->channel);
	fork_free(fork);
}
