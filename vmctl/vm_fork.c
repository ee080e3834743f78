#include "vmctl/vm_fork.h"

#include "util/io.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LOOK_MS 1 /* between looks at what the guest has taken */

static void on_look(struct loop_timer *timer);

void vm_fork_init(struct vm_fork *fork, struct machine *machine, struct loop *loop,
		  void (*answer)(json_t *reply, json_t *seq))
{
	*fork = (struct vm_fork){
	    .machine = machine,
	    .loop = loop,
	    .answer = answer,
	    .fds = {-1, -1},
	};
	loop_timer_init(&fork->look, on_look);
}

/*
 * The order is done with; the descriptors are the child's alone. The answer goes out
 * first: without a child, their end would look like that of one.
 */
static void finish(struct vm_fork *fork, json_t *reply)
{
	json_t *seq = fork->seq;

	fork->seq = NULL;
	fork->answer(reply, seq);
	json_decref(seq);
	for (int i = 0; i < VM_FORK_FDS; i++) {
		close(fork->fds[i]);
		fork->fds[i] = -1;
	}
}

static void fail(struct vm_fork *fork, const struct error *err)
{
	finish(fork, json_pack("{s:s, s:i}", "error", err->text, "errno", -err->code));
}

/* With the vCPUs parked. Return: as fork(2), or -errno with @err filled. */
static pid_t split(struct vm_fork *order, struct error *err)
{
	int r = machine_seal(order->machine, order->saved ? NULL : &order->state, err);
	pid_t pid;

	if (r < 0)
		return r;
	order->saved = true;
	pid = fork();
	if (pid < 0)
		return error_set(err, errno, "cannot fork the VM's process");
	return pid;
}

static void fork_now(struct vm_fork *fork)
{
	const struct virtio_console *console = &fork->machine->console;
	uint64_t start = io_monotonic_ns(), pause, agent_out;
	struct error err;
	pid_t pid;

	if (!fork->parked)
		vcpus_park(&fork->machine->vcpus);
	pid = split(fork, &err);
	if (pid == 0) {
		fork->child = true;
		loop_stop(fork->loop);
		return;
	}
	agent_out = console->bytes_out;
	pause = (io_monotonic_ns() - start) / 1000;
	if (!fork->parked) {
		fork->saved = false;
		vcpus_resume(&fork->machine->vcpus);
	}
	if (pid < 0)
		fail(fork, &err);
	else
		finish(fork,
		       json_pack("{s:i, s:I, s:I}", "pid", (int)pid, "agent_out",
				 (json_int_t)agent_out, "pause_usec", (json_int_t)pause));
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
		fork_now(fork);
	} else if (bytes > fork->agent_in) {
		error_say(&err, EPROTO, "the guest has already been sent more");
		fail(fork, &err);
	} else if (io_monotonic_ns() > fork->until_ns) {
		error_say(&err, EAGAIN,
			  "the guest does not read its agent's port: try again");
		fail(fork, &err);
	} else {
		loop_timer_set(fork->loop, &fork->look, LOOK_MS);
	}
}

static void on_look(struct loop_timer *timer)
{
	look(container_of(timer, struct vm_fork, look));
}

static int check_order(const struct vm_fork *fork, json_t *request, const int *fds,
		       const char **name, json_int_t *agent_in, json_t **seq,
		       struct error *err)
{
	if (fork->seq)
		return error_say(err, EAGAIN, "the VM is being forked: try again");
	if (json_unpack(request, "{s:s, s:I, s:o}", "name", name, "agent_in", agent_in,
			"seq", seq) < 0 ||
	    *agent_in < 0 || fds[0] < 0 || fds[1] < 0)
		return error_say(err, EINVAL, "an order to fork lacks something");
	return 0;
}

static void close_all(const int *fds)
{
	for (int i = 0; i < VM_FORK_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void vm_fork_order(struct vm_fork *fork, const json_t *request, const int fds[VM_FORK_FDS])
{
	const char *name = "";
	json_int_t agent_in = 0;
	struct error err;
	json_t *seq = NULL;

	if (check_order(fork, (json_t *)request, fds, &name, &agent_in, &seq, &err) < 0) {
		close_all(fds);
		fork->answer(json_pack("{s:s, s:i}", "error", err.text, "errno", -err.code),
			     json_object_get(request, "seq"));
		return;
	}
	fork->seq = json_incref(seq);
	fork->agent_in = (uint64_t)agent_in;
	fork->until_ns = io_monotonic_ns() + VM_FORK_PATIENCE_MS * 1000000ull;
	for (int i = 0; i < VM_FORK_FDS; i++)
		fork->fds[i] = fds[i];
	snprintf(fork->name, sizeof(fork->name), "%s", name);
	look(fork);
}

void vm_fork_park(struct vm_fork *fork)
{
	if (!fork->parked)
		vcpus_park(&fork->machine->vcpus);
	fork->parked = true;
}

void vm_fork_resume(struct vm_fork *fork)
{
	if (!fork->parked)
		return;
	fork->parked = fork->saved = false;
	vcpus_resume(&fork->machine->vcpus);
}

void vm_fork_take_fds(struct vm_fork *fork, int control_fd, int agent_fd)
{
	int control = fork->fds[0], agent = fork->fds[1];

	setsid();
	dup2(control, control_fd);
	dup2(agent, agent_fd);
	close_all(fork->fds);
	prctl(PR_SET_NAME, fork->name);
	json_decref(fork->seq);
	fork->seq = NULL;
	fork->child = fork->parked = fork->saved = false;
	fork->fds[0] = fork->fds[1] = -1;
}

int vm_fork_part(struct vm_fork *fork, int agent_fd, struct error *err)
{
	int r = machine_part(fork->machine, &fork->state, agent_fd, err);

	return r ? r : vcpus_start(&fork->machine->vcpus, err);
}
