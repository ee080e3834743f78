#include "vmctl/vmproc.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/ops.h"
#include "vmctl/spawn.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A log of 64 KiB, when JSON has escaped every byte of it, and some more. */
#define MESSAGE_MAX (512u << 10)

static void vmproc_free(struct vmproc *vm)
{
	struct broker *broker = vm->broker;

	ops_vm_gone(vm);
	channel_fini(&vm->channel);
	loop_timer_cancel(&vm->grace);
	list_del(&vm->link);
	list_del(&vm->bucket);
	free(vm->log);
	free(vm);
	broker_vm_gone(broker);
}

static void close_control(struct vmproc *vm)
{
	if (vm->control_fd < 0)
		return;
	loop_del(&vm->broker->loop, &vm->control);
	close(vm->control_fd);
	vm->control_fd = -1;
}

/* Ask the process to end, and see to it that it does. */
static void vmproc_end(struct vmproc *vm)
{
	if (vm->dead)
		return;
	close_control(vm);
	if (!vm->grace.deadline_ns)
		loop_timer_set(&vm->broker->loop, &vm->grace, VMPROC_GRACE_MS);
}

static void on_grace(struct loop_timer *timer)
{
	struct vmproc *vm = container_of(timer, struct vmproc, grace);

	kill(vm->pid, SIGKILL);
}

/* Keep the first reason; it becomes one line whatever it was. */
static void set_reason(struct vmproc *vm, const char *reason)
{
	if (vm->reason[0])
		return;
	snprintf(vm->reason, sizeof(vm->reason), "%s", reason);
	for (char *p = vm->reason; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = '?';
}

static void on_event(struct vmproc *vm, const json_t *message, const char *event)
{
	const char *reason = json_string_value(json_object_get(message, "reason"));
	const char *log = json_string_value(json_object_get(message, "log"));

	if (strcmp(event, "dead") != 0)
		return;
	set_reason(vm, reason ? reason : "it did not say why it ended");
	if (log && !vm->log)
		vm->log = strdup(log);
	vmproc_end(vm);
}

/* Take one message. Return: false when there is none now. */
static bool take_message(struct vmproc *vm)
{
	static char text[MESSAGE_MAX];
	ssize_t n = recv(vm->control_fd, text, sizeof(text), MSG_DONTWAIT);
	const char *event;
	json_t *message;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return errno == EINTR;
	if (n <= 0) {
		vmproc_end(vm);
		return false;
	}
	message = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	event = json_string_value(json_object_get(message, "event"));
	if (event) {
		on_event(vm, message, event);
	} else if (!json_is_object(message) || ops_answer(vm, message) < 0) {
		set_reason(vm, "its process broke the rules of its control channel");
		vmproc_end(vm);
	}
	json_decref(message);
	return vm->control_fd >= 0;
}

static void on_control(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	take_message(container_of(source, struct vmproc, control));
}

static void reason_of_status(struct vmproc *vm, int status)
{
	char text[120];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "its process was killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (vm->destroying)
		snprintf(text, sizeof(text), "it was destroyed");
	else
		snprintf(text, sizeof(text),
			 "its process exited with status %d without "
			 "saying why",
			 WEXITSTATUS(status));
	set_reason(vm, text);
}

void vmproc_reaped(struct vmproc *vm, int status)
{
	while (vm->control_fd >= 0 && take_message(vm))
		;
	vm->dead = true;
	close_control(vm);
	loop_timer_cancel(&vm->grace);
	reason_of_status(vm, status);
	ops_vm_dead(vm);
	channel_end(&vm->channel);
	if (vm->destroying)
		vmproc_free(vm);
}

void vmproc_destroy(struct vmproc *vm)
{
	vm->destroying = true;
	channel_detach(&vm->channel);
	if (vm->dead)
		vmproc_free(vm);
	else
		vmproc_end(vm);
}

int vmproc_ask(struct vmproc *vm, json_t *message, struct error *err)
{
	cleanup_free char *text = json_dumps(message, JSON_COMPACT);

	if (!text)
		return error_set(err, ENOMEM, "cannot ask the VM's process");
	if (vm->control_fd < 0)
		return error_say(err, ESRCH, "the VM is ending");
	if (send(vm->control_fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return error_set(err, errno, "cannot ask the VM's process");
	return 0;
}

static int send_start(struct vmproc *vm, const struct vmproc_spec *spec, struct error *err)
{
	json_t *start = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i}", "op", "start",
				  "name", spec->name, "kernel", spec->kernel, "initramfs",
				  spec->initramfs, "base", spec->base, "upper", spec->upper,
				  "memory_mib", spec->memory_mib, "vcpus", spec->vcpus);
	int r =
	    start ? vmproc_ask(vm, start, err) : error_set(err, ENOMEM, "cannot make a VM");

	json_decref(start);
	return r;
}

/* Two connected sockets: [0] for us, non-blocking, [1] for the VM process. */
static int make_pair(int type, int pair[2], struct error *err)
{
	int bytes = MESSAGE_MAX;

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot make a socket pair for a VM");
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	return io_set_nonblock(pair[0], true);
}

static int vmproc_exec(struct vmproc *vm, struct error *err)
{
	const char *program = vm->broker->config.vm_program;
	const char *argv[] = {"vmctl", "vm", NULL};
	struct spawn_options options = {.count = 2};
	int ours[2] = {-1, -1}, agent[2] = {-1, -1};
	cleanup_close int control_end = -1, agent_end = -1;
	int r = make_pair(SOCK_SEQPACKET, ours, err);

	if (r == 0)
		r = make_pair(SOCK_STREAM, agent, err);
	control_end = ours[1];
	agent_end = agent[1];
	vm->control_fd = ours[0];
	channel_init(&vm->channel, &vm->broker->loop, vm->broker->last_id, agent[0],
		     ops_channel_drained);
	if (r < 0)
		return r;
	options.fds = (const int[]){control_end, agent_end};
	vm->pid = spawn(program, argv, &options, err);
	return vm->pid < 0 ? vm->pid : 0;
}

static struct vmproc *vmproc_new(struct broker *broker, const struct vmproc_spec *spec)
{
	struct vmproc *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->broker = broker;
	vm->control_fd = -1;
	vm->memory_mib = spec->memory_mib;
	vm->vcpus = spec->vcpus;
	vm->control = LOOP_SOURCE_NONE;
	snprintf(vm->name, sizeof(vm->name), "%s", spec->name);
	snprintf(vm->template, sizeof(vm->template), "%s", spec->template);
	loop_timer_init(&vm->grace, on_grace);
	list_init(&vm->requests);
	broker->last_id++;
	broker->vm_count++;
	list_add_before(&broker->vms, &vm->link);
	list_add_before(&broker->buckets[broker->last_id % BROKER_BUCKETS], &vm->bucket);
	return vm;
}

int vmproc_start(struct broker *broker, const struct vmproc_spec *spec, struct vmproc **vm,
		 struct error *err)
{
	struct vmproc *made;
	int r;

	if (broker->stopping || broker->last_id == UINT32_MAX)
		return error_say(err, ESHUTDOWN, "vmctl is about to end");
	made = vmproc_new(broker, spec);
	if (!made)
		return error_set(err, ENOMEM, "cannot make a VM");
	r = vmproc_exec(made, err);
	if (r < 0) {
		close_control(made);
		vmproc_free(made);
		return r;
	}
	r = loop_add(&broker->loop, &made->control, made->control_fd, EPOLLIN, on_control);
	if (r == 0)
		r = send_start(made, spec, err);
	if (r < 0) {
		vmproc_destroy(made);
		return r;
	}
	*vm = made;
	return 0;
}
