#include "vmctl/vmproc.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/cgroup.h"
#include "vmctl/client.h"
#include "vmctl/fork.h"
#include "vmctl/freeze.h"
#include "vmctl/keeper.h"
#include "vmctl/ops.h"
#include "vmctl/procfs.h"
#include "vmctl/request.h"
#include "vmctl/vm_fork.h"
#include "vmctl/vmproc_parts.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ERRNUM_MAX 4096
#define FDS_MAX	   ((size_t)VM_FORK_BATCH * VMPROC_FDS)

_Static_assert(VMPROC_FDS == VM_FORK_FDS, "both ends count a child's sockets alike");

static void vmproc_free(struct vmproc *vm)
{
	struct broker *broker = vm->broker;
	char base[sizeof(vm->facts->base)];

	strcpy(base, vm->facts->base);
	ops_vm_gone(vm);
	netproc_gone(vm);
	keeper_drop(broker, vm);
	channel_fini(&vm->channel);
	loop_timer_cancel(&vm->grace);
	loop_del(&broker->loop, &vm->exited);
	if (vm->pidfd >= 0)
		close(vm->pidfd);
	list_del(&vm->link);
	list_del(&vm->bucket);
	if (vm->facts->group_of)
		cgroup_remove(vm->facts->group_of, vm->facts->id, &broker->left_groups);
	io_close_all(&vm->family_fd, 1);
	if (vm->kept_fd >= 0)
		close(vm->kept_fd);
	kept_free(vm->kept);
	json_decref(vm->policy);
	free(vm->log);
	free(vm);
	freeze_tidy(broker, base);
	broker_vm_gone(broker);
}

static void close_control(struct vmproc *vm)
{
	if (vm->control_fd < 0)
		return;
	loop_del(&vm->broker->loop, &vm->control);
	shutdown(vm->control_fd, SHUT_RDWR); /* the keeper has it, too */
	close(vm->control_fd);
	vm->control_fd = -1;
}

/* Ask the process to end, and see to it that it does. */
static void vmproc_end(struct vmproc *vm)
{
	if (vm->facts->dead)
		return;
	close_control(vm);
	if (!vm->grace.deadline_ns)
		loop_timer_set(&vm->broker->loop, &vm->grace,
			       vm->facts->pid ? VMPROC_GRACE_MS : 0);
}

/* The number is still of that process if it lives when the file is open. */
int vmproc_open_proc(const struct vmproc *vm, const char *file, struct error *err)
{
	struct pollfd state = {.fd = vm->pidfd, .events = POLLIN};
	cleanup_close int fd = vm->pidfd < 0 ? -ESRCH : procfs_open(vm->facts->pid, file);

	if (fd >= 0 && poll(&state, 1, 0) == 0)
		return steal_fd(&fd);
	return error_set(err, fd < 0 ? -fd : ESRCH, "cannot look at the process of VM %u",
			 vm->channel.id);
}

int vmproc_signal(struct vmproc *vm, int signal)
{
	int r;

	if (vm->pidfd < 0 && vm->facts->pid <= 0)
		return -ESRCH; /* of an adopted VM it may not be known */
	r = vm->pidfd >= 0 ? (int)syscall(SYS_pidfd_send_signal, vm->pidfd, signal, NULL, 0)
			   : kill(vm->facts->pid, signal);
	return r < 0 ? -errno : 0;
}

/* A process that is not known had the chance to see the end of its sockets. */
void vmproc_on_grace(struct loop_timer *timer)
{
	struct vmproc *vm = container_of(timer, struct vmproc, grace);

	if (vm->gone || !vm->facts->pid)
		vmproc_reaped(vm, vm->status);
	else
		vmproc_signal(vm, SIGKILL);
}

/* Keep the first reason; it becomes one line whatever it was. */
static void set_reason(struct vmproc *vm, const char *reason)
{
	if (vm->facts->reason[0])
		return;
	snprintf(vm->facts->reason, sizeof(vm->facts->reason), "%s", reason);
	for (char *p = vm->facts->reason; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = '?';
}

/* A process that is not our child has ended. How is in /proc until it is waited for. */
static void on_exited(struct loop_source *source, uint32_t revents)
{
	struct vmproc *vm = container_of(source, struct vmproc, exited);
	int status = procfs_exit_status(vm->facts->pid);

	(void)revents;
	loop_del(&vm->broker->loop, &vm->exited);
	vm->gone = true;
	vm->status = status < 0 ? 0 : status;
	loop_timer_set(&vm->broker->loop, &vm->grace, 0);
}

int vmproc_watch_exit(struct vmproc *vm)
{
	return loop_add(&vm->broker->loop, &vm->exited, vm->pidfd, EPOLLIN, on_exited);
}

void vmproc_set_pid(struct vmproc *vm, pid_t pid)
{
	vm->facts->pid = pid;
	list_add_before(&vm->broker->pids[(unsigned)pid % BROKER_BUCKETS], &vm->pid_bucket);
}

/*
 * A number that was given to another process since is of no process of the family, whose
 * namespace nobody enters. It is still of ours if that is there after we have looked.
 */
static int check_family(const struct vmproc *vm, int pidfd, pid_t pid)
{
	uint64_t ns = procfs_pid_namespace(pid);

	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0)
		return -errno;
	return ns == vm->facts->pid_ns ? 0 : -EPROTO;
}

/* A fork has spoken for the first time: @pid is what the kernel says of it. */
static int meet(struct vmproc *vm, pid_t pid)
{
	cleanup_close int pidfd = -1;
	int r;

	if (pid <= 1 || pid == getpid() || broker_find_pid(vm->broker, pid))
		return -EPROTO;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = pidfd < 0 ? -errno : check_family(vm, pidfd, pid);
	if (r < 0)
		return r;
	vm->pidfd = steal_fd(&pidfd);
	vmproc_set_pid(vm, pid);
	keeper_process(vm->broker, vm);
	return vmproc_watch_exit(vm);
}

static void on_event(struct vmproc *vm, const json_t *message, const char *event)
{
	const char *reason = json_string_value(json_object_get(message, "reason"));
	const char *log = json_string_value(json_object_get(message, "log"));
	json_int_t errnum = json_integer_value(json_object_get(message, "errno"));

	if (strcmp(event, "started") == 0 && !vm->facts->started) {
		vm->facts->started = true;
		if (vm->making)
			fork_started(vm);
		else if (vm->thawing)
			freeze_started(vm);
	}
	if (strcmp(event, "busy") == 0)
		request_alive(vm);
	if (strcmp(event, "dead") != 0)
		return;
	set_reason(vm, reason ? reason : "it did not say why it ended");
	if (errnum > 0 && errnum < ERRNUM_MAX)
		vm->facts->errnum = (int)errnum;
	if (log && !vm->log)
		vm->log = strdup(log);
	vmproc_end(vm);
}

/* Receive a message. Return: as recv(2); @pid is set to its sender, or 0. */
static ssize_t receive(int fd, char *text, size_t room, pid_t *pid)
{
	alignas(struct cmsghdr) char ancillary[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = {.iov_base = text, .iov_len = room};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = ancillary,
	    .msg_controllen = sizeof(ancillary),
	};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *cmsg = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	struct ucred sender;

	*pid = 0;
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_CREDENTIALS &&
	    cmsg->cmsg_len == CMSG_LEN(sizeof(sender))) {
		memcpy(&sender, CMSG_DATA(cmsg), sizeof(sender));
		*pid = sender.pid;
	}
	return n;
}

/* A fork's last words may be its first, and its process gone when they are read. */
static bool is_last(const char *event)
{
	return event && strcmp(event, "dead") == 0;
}

/* Take one message. Return: false when there is none now. */
static bool take_message(struct vmproc *vm)
{
	static char text[VMPROC_MESSAGE_MAX];
	pid_t sender;
	ssize_t n = receive(vm->control_fd, text, sizeof(text), &sender);
	const char *event;
	json_t *message;
	int r;

	/* What was not read by a process that ended resets the connection, once, and comes
	 * before its last words. */
	if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
		return errno != EAGAIN;
	if (n <= 0) {
		vmproc_end(vm);
		return false;
	}
	message = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	event = json_string_value(json_object_get(message, "event"));
	r = vm->facts->pid ? 0 : meet(vm, sender);
	if (r == -ESRCH && !is_last(event)) {
		; /* its last words, or the end, come next */
	} else if (r < 0 && !is_last(event)) {
		vm->facts->errnum = -r;
		vmproc_end(vm);
	} else if (event) {
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

int vmproc_watch_control(struct vmproc *vm)
{
	return loop_add(&vm->broker->loop, &vm->control, vm->control_fd, EPOLLIN,
			on_control);
}

static void reason_of_status(struct vmproc *vm, int status)
{
	char text[120];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "its process was killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (vm->facts->destroying)
		snprintf(text, sizeof(text), "it was destroyed");
	else if (vm->gone || !vm->facts->pid)
		snprintf(text, sizeof(text), "its process ended without saying why");
	else
		snprintf(text, sizeof(text),
			 "its process exited with status %d without "
			 "saying why",
			 WEXITSTATUS(status));
	set_reason(vm, text);
}

/* The last one ends what is left of the family. */
static void let_family_go(struct vmproc *vm)
{
	io_close_all(&vm->family_fd, 1);
	keeper_ended(vm->broker, vm);
}

void vmproc_reaped(struct vmproc *vm, int status)
{
	/* Another process may still have the other end, and may go on sending: what is
	 * queued can be read, and then there is an end. */
	if (vm->control_fd >= 0)
		shutdown(vm->control_fd, SHUT_RD);
	while (vm->control_fd >= 0 && take_message(vm))
		;
	vm->facts->dead = true;
	let_family_go(vm);
	netproc_gone(vm);
	list_del(&vm->pid_bucket);
	close_control(vm);
	loop_del(&vm->broker->loop, &vm->exited);
	loop_timer_cancel(&vm->grace);
	reason_of_status(vm, status);
	if (vm->making || vm->thawing) {
		if (vm->making)
			fork_child_dead(vm);
		else
			freeze_dead(vm);
		vmproc_free(vm);
		return;
	}
	if (vm->facts->seen)
		ops_vm_dead(vm);
	channel_end(&vm->channel);
	if (vm->facts->destroying)
		vmproc_free(vm);
}

void vmproc_destroy(struct vmproc *vm)
{
	vm->facts->destroying = true;
	channel_detach(&vm->channel);
	if (vm->facts->dead)
		vmproc_free(vm);
	else
		vmproc_end(vm);
}

void vmproc_frozen(struct vmproc *vm)
{
	set_reason(vm, "it was frozen");
	vmproc_destroy(vm);
}

int vmproc_limit(struct vmproc *vm, int cpu_percent, struct error *err)
{
	if (!vm->broker->limits_cpu)
		return error_say(err, ENOTSUP, "this machine has no cgroup v2 for VMs");
	if (!vm->facts->pid)
		return error_say(err, EAGAIN,
				 "the process of VM %u is not known yet: try again",
				 vm->channel.id);
	if (!vm->facts->group_of)
		vm->facts->group_of = getpid(); /* also when what follows is done in part */
	vm->facts->cpu_percent = cpu_percent;
	return cgroup_limit(vm->facts->group_of, vm->facts->id, vm->facts->pid,
			    (unsigned)cpu_percent, err);
}

int vmproc_ask(struct vmproc *vm, json_t *message, const int *fds, unsigned count,
	       struct error *err)
{
	cleanup_free char *text = json_dumps(message, JSON_COMPACT);
	alignas(struct cmsghdr) char ancillary[CMSG_SPACE(FDS_MAX * sizeof(int))];
	struct iovec iov = {.iov_base = text};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (!text)
		return error_set(err, ENOMEM, "cannot ask the VM's process");
	if (vm->control_fd < 0)
		return error_say(err, ESRCH, "the VM is ending");
	iov.iov_len = strlen(text);
	if (count)
		io_add_fds(&msg, ancillary, fds, count);
	if (sendmsg(vm->control_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno == EPIPE || errno == ECONNRESET)
		return error_say(err, EIO, "the VM's process has ended");
	return error_set(err, errno, "cannot ask the VM's process");
}
