#include "vmctl/fork.h"

#include "vmctl/client.h"
#include "vmctl/request.h"
#include "vmctl/vmproc.h"

#include <errno.h>
#include <unistd.h>

static json_int_t number_in(const json_t *message, const char *key)
{
	return json_integer_value(json_object_get(message, key));
}

static struct request *find_fork(struct vmproc *parent)
{
	struct request *request;

	list_for_each (request, &parent->requests, struct request, vm_link)
		if (request->kind == REQUEST_FORK)
			return request;
	return NULL;
}

static int check_parent(const struct client *client, struct vmproc *parent,
			struct error *err)
{
	unsigned id = parent->channel.id;

	if (parent->dead)
		return error_say(err, EIO, "VM %u is dead: %s", id, parent->reason);
	if (parent->control_fd < 0)
		return error_say(err, EIO, "VM %u is ending", id);
	if (parent->channel.owner != client)
		return error_say(err, EPERM, "VM %u is another client's: attach it first",
				 id);
	if (find_fork(parent))
		return error_say(err, EAGAIN, "VM %u is being forked: try again", id);
	return 0;
}

/* The reply comes where the streams part: behind what the parent has said. */
static void finish(struct request *request)
{
	struct vmproc *child = request->child;
	struct client *client = request->client;

	request->child = NULL;
	child->making = NULL;
	child->seen = true;
	reply(client, request->seq,
	      json_pack("{s:I, s:i, s:I}", "vm", (json_int_t)child->channel.id, "pid",
			(int)child->pid, "pause_usec",
			number_in(request->answer, "pause_usec")));
	channel_attach(&child->channel, client, NULL);
	request_free(request);
}

static void step(struct request *request)
{
	const struct channel *channel = &request->vm->channel;
	struct error err;

	if (!request->answer || !request->child->started ||
	    channel->relayed != channel->limit)
		return;
	if (number_in(request->answer, "pid") == request->child->pid) {
		finish(request);
		return;
	}
	error_say(&err, EPROTO, "VM %u does not know its own fork", channel->id);
	request_fail(request, &err);
}

static void on_cut(struct channel *channel)
{
	struct request *request = find_fork(container_of(channel, struct vmproc, channel));

	if (request)
		step(request);
}

/* Return: 0, or -errno with @err filled; the request then still has to be freed. */
static int ask(struct request *request, const char *name, const int *fds, struct error *err)
{
	uint64_t agent_in = channel_hold(&request->vm->channel);

	return request_ask(request,
			   json_pack("{s:s, s:s, s:I}", "op", "fork", "name", name,
				     "agent_in", (json_int_t)agent_in),
			   fds, err);
}

int fork_begin(struct client *client, json_t *seq, struct vmproc *parent, const char *name,
	       struct error *err)
{
	int fds[VMPROC_FDS], r = check_parent(client, parent, err);
	struct request *request;
	struct vmproc *child;

	if (r < 0)
		return r;
	child = vmproc_prepare(parent, name, fds, err);
	if (!child)
		return err->code;
	request = request_new(client, seq, parent, REQUEST_FORK);
	if (request) {
		request->child = child;
		child->making = request;
		r = ask(request, name, fds, err);
		if (r < 0)
			request_free(request);
	} else {
		vmproc_destroy(child);
		r = error_set(err, ENOMEM, "cannot fork a VM");
	}
	for (int i = 0; i < VMPROC_FDS; i++)
		close(fds[i]);
	return r;
}

int fork_answer(struct request *request, const json_t *message)
{
	struct channel *channel = &request->vm->channel;
	json_int_t count = number_in(message, "agent_out");
	struct error err;

	if (request->answer)
		return -EPROTO;
	request->answer = json_incref((json_t *)message);
	if (count >= 0 && channel_cut(channel, (uint64_t)count, on_cut) == 0)
		return 0;
	error_say(&err, EPROTO, "VM %u has lost count of its output", channel->id);
	request_fail(request, &err);
	return -EPROTO;
}

void fork_started(struct request *request)
{
	step(request);
}

void fork_child_dead(struct vmproc *child)
{
	struct request *request = child->making;
	struct error err;

	child->making = NULL;
	request->child = NULL;
	error_say(&err, EIO, "the fork did not live: %s", child->reason);
	request_fail(request, &err);
}

void fork_interrupt(struct vmproc *parent)
{
	struct request *request = find_fork(parent);
	struct error err;

	if (!request)
		return;
	error_say(&err, EAGAIN, "another client has attached VM %u", parent->channel.id);
	request_fail(request, &err);
}

void fork_end(struct request *request)
{
	struct vmproc *child = request->child;

	request->child = NULL;
	if (child) {
		child->making = NULL;
		vmproc_destroy(child);
	}
	json_decref(request->answer);
	channel_release(&request->vm->channel);
}
