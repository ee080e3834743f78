#include "vmctl/vm_fork.h"

#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LOOK_MS	   1 /* between looks at what the guest has taken */
#define TELL_EVERY 8 /* children between two signs of life: each may take 100 ms */

static void on_look(struct loop_timer *timer);

void vm_fork_init(struct vm_fork *fork, struct machine *machine, struct loop *loop,
		  const struct vm_fork_ops *ops)
{
	*fork = (struct vm_fork){
	    .machine = machine,
	    .loop = loop,
	    .ops = ops,
	    .gate = -1,
	};
	loop_timer_init(&fork->look, on_look);
}

static bool stands_still(const struct vm_fork *fork)
{
	return fork->parked || fork->held;
}

static void stand_still(struct vm_fork *fork)
{
	if (stands_still(fork))
		return;
	vcpus_park(&fork->machine->vcpus);
	fork->ops->still(true);
}

static void run_on(struct vm_fork *fork)
{
	if (stands_still(fork))
		return;
	fork->saved = false;
	vcpus_resume(&fork->machine->vcpus);
	fork->ops->still(false);
}

/* Let the children begin that there are. */
static void open_gate(struct vm_fork *fork)
{
	uint64_t one = 1;

	if (fork->gate < 0)
		return;
	if (write(fork->gate, &one, sizeof(one)) < 0)
		abort(); /* an eventfd takes it */
	close(fork->gate);
	fork->gate = -1;
}

/* Between two orders for one fork nothing may move but the orders. */
static void hold(struct vm_fork *fork, bool more)
{
	if (fork->held != more)
		fork->ops->hold(more);
	fork->held = more;
	loop_timer_cancel(&fork->look);
	if (more)
		loop_timer_set(fork->loop, &fork->look, VM_FORK_HOLD_MS);
	else
		open_gate(fork);
}

static void close_fds(struct vm_fork_fds *fds)
{
	for (unsigned i = 0; i < fds->count; i++)
		if (fds->fd[i] >= 0)
			close(fds->fd[i]);
	fds->count = 0;
}

/* The order is done with; what is left of the descriptors is of no child. */
static void finish(struct vm_fork *fork, json_t *reply)
{
	json_t *order = fork->order;

	fork->order = NULL;
	fork->ops->answer(reply, json_object_get(order, "seq"));
	json_decref(order);
	close_fds(&fork->fds);
}

/* Also what was held for the rest of the orders runs on. */
static void fail(struct vm_fork *fork, const struct error *err)
{
	hold(fork, false);
	run_on(fork);
	finish(fork, json_pack("{s:s, s:i}", "error", err->text, "errno", -err->code));
}

/* Whatever is short is short like memory: it may be there later. */
static int no_room(struct error *err, int errnum)
{
	error_set(err, errnum, "cannot fork the VM's process");
	if (errnum == EAGAIN)
		err->code = -ENOMEM;
	return err->code;
}

/*
 * With the vCPUs parked: make child @i.
 * Return: 1, 0 in the child, or -errno with @err filled.
 *
 * #syscalls:vm clone(0==CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD) wait4 setsid dup2
 */
static int make_child(struct vm_fork *order, unsigned i, struct error *err)
{
	int *fds = order->fds.fd + (size_t)i * VM_FORK_FDS;
	pid_t pid = fork();

	if (pid < 0)
		return no_room(err, errno);
	if (pid == 0) {
		order->child_index = i;
		return 0;
	}
	for (int k = 0; k < VM_FORK_FDS; k++) {
		close(fds[k]);
		fds[k] = -1;
	}
	return 1;
}

/* Return: as make_child(). */
static int make_children(struct vm_fork *fork, unsigned *made, struct error *err)
{
	size_t count = json_array_size(json_object_get(fork->order, "names"));
	int r = machine_seal(fork->machine, fork->saved ? NULL : &fork->state, err);

	if (r < 0)
		return r;
	fork->saved = true;
	if (fork->gate < 0 && count > 1)
		fork->gate = eventfd(0, EFD_CLOEXEC);
	if (fork->gate < 0 && count > 1)
		return error_set(err, errno, "cannot make an eventfd");
	r = 1;
	for (unsigned i = 0; i < count && r > 0; i++) {
		r = make_child(fork, i, err);
		if (r > 0 && i % TELL_EVERY == TELL_EVERY - 1)
			fork->ops->busy();
	}
	*made = (unsigned)count;
	return r;
}

/* The counts are taken before the vCPUs run on. */
static json_t *success(const struct vm_fork *fork, unsigned made)
{
	uint64_t pause = (io_monotonic_ns() - fork->still_ns) / 1000;

	return json_pack("{s:i, s:I, s:I}", "made", (int)made, "agent_out",
			 (json_int_t)fork->machine->console.bytes_out, "pause_usec",
			 (json_int_t)pause);
}

static void fork_now(struct vm_fork *fork)
{
	bool more = json_is_true(json_object_get(fork->order, "more"));
	unsigned made = 0;
	json_t *reply = NULL;
	struct error err;
	int r;

	loop_timer_cancel(&fork->look);
	if (!fork->held)
		fork->still_ns = io_monotonic_ns();
	stand_still(fork);
	r = make_children(fork, &made, &err);
	if (r == 0) {
		loop_stop(fork->loop);
		return;
	}
	if (r > 0)
		reply = success(fork, made);
	if (r > 0) {
		hold(fork, more);
		run_on(fork);
		finish(fork, reply);
	} else {
		fail(fork, &err);
	}
}

/* Devices move bytes in the threads of vCPUs as well. */
static uint64_t taken(struct machine *m)
{
	uint64_t bytes;

	pthread_mutex_lock(&m->lock);
	bytes = m->console.bytes_in;
	pthread_mutex_unlock(&m->lock);
	return bytes;
}

static void look(struct vm_fork *fork)
{
	uint64_t bytes = taken(fork->machine);
	struct error err;

	if (bytes == fork->agent_in) {
		fork->act(fork);
	} else if (bytes > fork->agent_in) {
		error_say(&err, EPROTO, "the guest has already been sent more");
		fail(fork, &err);
	} else if (!fork->looks--) {
		error_say(&err, EAGAIN,
			  "the guest does not read its agent's port: try again");
		fail(fork, &err);
	} else {
		loop_timer_set(fork->loop, &fork->look, LOOK_MS);
	}
}

/* Also when the rest of the orders does not come. */
static void on_look(struct loop_timer *timer)
{
	struct vm_fork *fork = container_of(timer, struct vm_fork, look);

	if (fork->order) {
		look(fork);
	} else {
		hold(fork, false);
		run_on(fork);
	}
}

/* The broker has given up what it ordered. */
static void cancel(struct vm_fork *fork, json_t *seq)
{
	struct error err;

	if (fork->order) {
		error_say(&err, ECANCELED, "the fork was cancelled");
		fail(fork, &err);
	}
	hold(fork, false);
	run_on(fork);
	fork->ops->answer(json_object(), seq);
}

/* It waits until the guest has what it was sent. */
static void take_order(struct vm_fork *fork, json_t *request, json_int_t agent_in,
		       const struct vm_fork_fds *fds, void (*act)(struct vm_fork *fork))
{
	fork->order = json_incref(request);
	fork->act = act;
	fork->agent_in = (uint64_t)agent_in;
	fork->looks = VM_FORK_PATIENCE_MS / LOOK_MS;
	fork->fds = *fds;
	look(fork);
}

static int check_order(const struct vm_fork *fork, json_t *request,
		       const struct vm_fork_fds *fds, json_int_t *agent_in,
		       struct error *err)
{
	size_t count = json_array_size(json_object_get(request, "names"));
	json_t *seq, *names;

	if (fork->order)
		return error_say(err, EAGAIN, "the VM is being forked: try again");
	if (json_unpack(request, "{s:I, s:o, s:o}", "agent_in", agent_in, "seq", &seq,
			"names", &names) < 0 ||
	    *agent_in < 0 || count > VM_FORK_BATCH || fds->count > count * VM_FORK_FDS)
		return error_say(err, EINVAL, "an order to fork lacks something");
	if (fds->count < count * VM_FORK_FDS)
		return error_say(err, ENOMEM,
				 "the VM's process has no room for the descriptors of %zu "
				 "forks",
				 count);
	return 0;
}

static void refuse(const struct vm_fork *fork, json_t *request, struct vm_fork_fds *fds,
		   const struct error *err)
{
	fork->ops->answer(json_pack("{s:s, s:i}", "error", err->text, "errno", -err->code),
			  json_object_get(request, "seq"));
	close_fds(fds);
}

void vm_fork_order(struct vm_fork *fork, json_t *request, struct vm_fork_fds *fds)
{
	json_t *names = json_object_get(request, "names");
	json_int_t agent_in = 0;
	struct error err;

	if (fork->unborn) {
		error_say(&err, EBUSY, "the VM stands still, and has never run");
		refuse(fork, request, fds, &err);
		return;
	}
	if (json_is_array(names) && !json_array_size(names)) {
		close_fds(fds);
		cancel(fork, json_object_get(request, "seq"));
		return;
	}
	if (check_order(fork, request, fds, &agent_in, &err) < 0) {
		refuse(fork, request, fds, &err);
		if (!fork->order) {
			hold(fork, false);
			run_on(fork);
		}
		return;
	}
	take_order(fork, request, agent_in, fds, fork_now);
}

/* Who reads the orders of the broker knows them to be right. */
static struct machine_origin origin_of(const json_t *request, const struct vm_fork_fds *fds)
{
	const char *group = json_string_value(json_object_get(request, "group"));

	return (struct machine_origin){
	    .template = json_string_value(json_object_get(request, "template")),
	    .group = group ? group : "",
	    .base = json_string_value(json_object_get(request, "base")),
	    .pagemap_fd = fds->count > 1 ? fds->fd[1] : -1,
	    .base_fd = fds->count > 2 ? fds->fd[2] : -1,
	};
}

static void freeze_now(struct vm_fork *fork)
{
	const struct machine_origin origin = origin_of(fork->order, &fork->fds);
	struct machine *m = fork->machine;
	struct error err;
	uint64_t bytes;
	int r;

	loop_timer_cancel(&fork->look);
	stand_still(fork);
	r = machine_get_state(m, fork->saved ? NULL : &fork->state, &err);
	if (r == 0) {
		fork->saved = true;
		r = machine_freeze(m, &fork->state, &origin, fork->fds.fd[0],
				   fork->ops->busy, &bytes, &err);
	}
	if (r < 0) {
		fail(fork, &err);
		return;
	}
	fork->parked = true;
	finish(fork, json_pack("{s:I, s:I}", "agent_out", (json_int_t)m->console.bytes_out,
			       "bytes", (json_int_t)bytes));
}

void vm_fork_freeze(struct vm_fork *fork, json_t *request, struct vm_fork_fds *fds)
{
	json_int_t agent_in = json_integer_value(json_object_get(request, "agent_in"));
	struct error err;
	int r = 0;

	if (fork->unborn || fork->order)
		r = error_say(&err, EBUSY, "the VM is being forked, or has never run");
	else if (!fds->count)
		r = error_say(&err, ENOMEM,
			      "the VM's process has no room for a descriptor");
	if (r < 0)
		refuse(fork, request, fds, &err);
	else
		take_order(fork, request, agent_in, fds, freeze_now);
}

void vm_fork_save(struct vm_fork *fork, json_t *request, struct vm_fork_fds *fds)
{
	const struct machine_origin origin = origin_of(request, fds);
	struct error err;
	uint64_t bytes = 0;
	int r;

	if (!fork->parked || fork->unborn || fork->order)
		r = error_say(&err, EBUSY, "the VM does not stand still");
	else if (!fds->count)
		r = error_say(&err, ENOMEM,
			      "the VM's process has no room for a descriptor");
	else
		r = machine_save_memory(fork->machine, &origin, fds->fd[0], fork->ops->busy,
					&bytes, &err);
	if (r < 0) {
		refuse(fork, request, fds, &err);
		return;
	}
	fork->ops->answer(json_pack("{s:I}", "bytes", (json_int_t)bytes),
			  json_object_get(request, "seq"));
	close_fds(fds);
}

void vm_fork_park(struct vm_fork *fork)
{
	stand_still(fork);
	fork->parked = true;
}

/* What the broker has for the agent goes to the guest before its first instruction. */
static int give_birth(struct vm_fork *fork, struct error *err)
{
	int r = machine_enter(fork->machine, &fork->state, err);

	if (!r)
		r = machine_agent_ready(fork->machine, err);
	if (!r)
		r = vcpus_start(&fork->machine->vcpus, err);
	fork->unborn = false;
	hold(fork, false);
	if (!r)
		fork->ops->still(false);
	return r;
}

int vm_fork_resume(struct vm_fork *fork, struct error *err)
{
	if (!fork->parked)
		return 0;
	fork->parked = false;
	if (fork->unborn)
		return give_birth(fork, err);
	run_on(fork);
	return 0;
}

/*
 * Nobody else is needed to open the gate: the broker's end is that of the child.
 * #syscalls:vm ppoll
 */
static void wait_at_gate(struct vm_fork *fork, int control_fd)
{
	struct pollfd fds[] = {
	    {.fd = fork->gate, .events = POLLIN},
	    {.fd = control_fd, .events = POLLRDHUP},
	};

	if (fork->gate < 0)
		return;
	/* poll(2) could go on as another call after the process was stopped. */
	while (ppoll(fds, 2, NULL, NULL) < 0)
		;
	if (fds[1].revents)
		_exit(0);
	close(fork->gate);
	fork->gate = -1;
}

void vm_fork_take_fds(struct vm_fork *fork, int control_fd, int agent_fd)
{
	const int *mine = fork->fds.fd + (size_t)fork->child_index * VM_FORK_FDS;
	json_t *names = json_object_get(fork->order, "names");
	const char *name = json_string_value(json_array_get(names, fork->child_index));
	bool last = fork->child_index + 1 == json_array_size(names);

	setsid();
	dup2(mine[0], control_fd);
	dup2(mine[1], agent_fd);
	close_fds(&fork->fds);
	prctl(PR_SET_NAME, name ? name : "");
	fork->unborn = last && json_is_true(json_object_get(fork->order, "unborn"));
	json_decref(fork->order);
	fork->order = NULL;
	fork->parked = fork->unborn;
	fork->held = fork->saved = false;
	wait_at_gate(fork, control_fd);
}

int vm_fork_part(struct vm_fork *fork, int agent_fd, struct error *err)
{
	int r = machine_part(fork->machine, agent_fd, err);

	if (fork->unborn) {
		fork->held = true;
		fork->ops->hold(true);
		fork->ops->still(true);
		return r;
	}
	if (!r)
		r = machine_enter(fork->machine, &fork->state, err);
	return r ? r : vcpus_start(&fork->machine->vcpus, err);
}
