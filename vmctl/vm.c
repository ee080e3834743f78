#include "vmctl/vm.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "util/loop.h"
#include "vmctl/init.h"
#include "vmctl/jail.h"
#include "vmctl/machine.h"
#include "vmctl/vm_fork.h"
#include "vmctl/vm_limits.h"
#include "vmctl/vm_stat.h"
#include "vmctl/vm_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define REAP_MOST_MS 5000

struct vm {
	struct machine machine;
	struct loop loop;
	struct loop_source control, agent, death, children;
	struct loop_timer reap; /* armed while there may be children to wait for */
	uint64_t reap_until_ns; /* while it is: until then it may be put off */
	struct vm_fork fork;
	struct vm_tap tap;
	char log_text[CONLOG_SIZE + 1];

	int death_fd; /* an eventfd: a vCPU thread has set the reason */
	pthread_mutex_t death_lock;
	char reason[sizeof(((struct error *)0)->text)]; /* "" while it lives */
};

/* A process is one VM. */
static struct vm vm;

/* Takes over @message. A broker that is gone is noticed by its end of file. */
static void say(json_t *message)
{
	cleanup_free char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;

	json_decref(message);
	if (text)
		send(VM_CONTROL_FD, text, strlen(text), MSG_NOSIGNAL);
}

/* The log goes along: nobody can ask for it any more. */
_Noreturn static void end(const char *reason, int errnum)
{
	conlog_text(&vm.machine.log, vm.log_text);
	say(json_pack("{s:s, s:s, s:i, s:s}", "event", "dead", "reason", reason, "errno",
		      errnum, "log", vm.log_text));
	_exit(0);
}

/*
 * The first reason counts. The main thread tells it.
 * #syscalls:vm,vcpu write
 */
static void set_reason(struct machine *m, const char *reason)
{
	uint64_t one = 1;

	(void)m;
	pthread_mutex_lock(&vm.death_lock);
	if (!vm.reason[0])
		snprintf(vm.reason, sizeof(vm.reason), "%s", reason);
	pthread_mutex_unlock(&vm.death_lock);
	if (write(vm.death_fd, &one, sizeof(one)) < 0)
		_exit(1);
}

static void on_death(struct loop_source *source, uint32_t revents)
{
	(void)source;
	(void)revents;
	pthread_mutex_lock(&vm.death_lock);
	end(vm.reason, EIO);
}

static json_t *log_answer(void)
{
	conlog_text(&vm.machine.log, vm.log_text);
	return json_pack("{s:s}", "log", vm.log_text);
}

static void send_answer(json_t *reply, json_t *seq)
{
	json_object_set(reply, "seq", seq ? seq : json_null());
	say(reply);
}

static json_t *park(void)
{
	vm_fork_park(&vm.fork);
	return json_object();
}

static json_t *resume(void)
{
	struct error err;

	if (vm_fork_resume(&vm.fork, &err) < 0)
		end(err.text, -err.code);
	return json_object();
}

/* A broker that another one follows cannot know what it was about to send. */
static json_t *agent_answer(void)
{
	int unread = 0;
	uint64_t bytes;

	pthread_mutex_lock(&vm.machine.lock);
	ioctl(VM_AGENT_FD, FIONREAD, &unread);
	bytes = vm.machine.console.bytes_in + (unsigned)unread;
	pthread_mutex_unlock(&vm.machine.lock);
	return json_pack("{s:I}", "agent_in", (json_int_t)bytes);
}

static json_t *stat_answer(struct vm_fork_fds *fds)
{
	json_t *stat = vm_stat(&vm.machine, fds->count ? fds->fd[0] : -1);

	for (unsigned i = 0; i < fds->count; i++)
		close(fds->fd[i]);
	return stat;
}

static json_t *connect_tap(struct vm_fork_fds *fds)
{
	struct error err;

	if (vm_tap_order(&vm.tap, fds, &err) < 0)
		return json_pack("{s:s, s:i}", "error", err.text, "errno", -err.code);
	return json_object();
}

/* @fds came with the request. */
static void answer(json_t *request, struct vm_fork_fds *fds)
{
	const char *op = json_string_value(json_object_get(request, "op"));
	json_t *reply;

	if (op && strcmp(op, "fork") == 0) {
		vm_fork_order(&vm.fork, request, fds);
		return;
	}
	if (op && strcmp(op, "freeze") == 0) {
		vm_fork_freeze(&vm.fork, request, fds);
		return;
	}
	if (op && strcmp(op, "save") == 0) {
		vm_fork_save(&vm.fork, request, fds);
		return;
	}
	if (op && strcmp(op, "log") == 0)
		reply = log_answer();
	else if (op && strcmp(op, "stat") == 0)
		reply = stat_answer(fds);
	else if (op && strcmp(op, "agent") == 0)
		reply = agent_answer();
	else if (op && strcmp(op, "park") == 0)
		reply = park();
	else if (op && strcmp(op, "resume") == 0)
		reply = resume();
	else if (op && strcmp(op, "tap") == 0)
		reply = connect_tap(fds);
	else
		reply = json_pack("{s:s, s:i}", "error", "there is no such operation",
				  "errno", EINVAL);
	send_answer(reply, json_object_get(request, "seq"));
}

/*
 * One message from the broker, whose end ends us.
 * Return: an object to json_decref(), or NULL when there is none now.
 */
static json_t *receive(int flags, struct vm_fork_fds *fds)
{
	static char text[VM_MESSAGE_MAX];
	alignas(struct cmsghdr) char ancillary[CMSG_SPACE(sizeof(fds->fd))];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = ancillary,
	    .msg_controllen = sizeof(ancillary),
	};
	ssize_t n;

	do
		n = recvmsg(VM_CONTROL_FD, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return NULL;
	if (n <= 0)
		_exit(0);
	fds->count =
	    (unsigned)io_take_fds(&msg, fds->fd, sizeof(fds->fd) / sizeof(fds->fd[0]));
	return json_loadb(text, (size_t)n, 0, NULL);
}

static void on_control(struct loop_source *source, uint32_t revents)
{
	struct vm_fork_fds fds;
	json_t *request = receive(MSG_DONTWAIT, &fds);

	(void)source;
	(void)revents;
	if (request)
		answer(request, &fds);
	json_decref(request);
}

/* Forks of ours have ended. The broker looks at how before we wait for them, but those who
 * end one soon after the other are not put off for ever: each counts as a process. */
static void on_children(struct loop_source *source, uint32_t revents)
{
	struct signalfd_siginfo info;
	uint64_t now = io_monotonic_ns();

	(void)revents;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info))
		;
	if (!vm.reap.deadline_ns)
		vm.reap_until_ns = now + REAP_MOST_MS * 1000000ull;
	if (!vm.reap.deadline_ns || now < vm.reap_until_ns)
		loop_timer_set(&vm.loop, &vm.reap, INIT_REAP_MS);
}

static void on_reap(struct loop_timer *timer)
{
	(void)timer;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* Under the device lock, in any thread. */
static void on_watch(struct virtio_console *con)
{
	uint32_t events = (con->want_in ? EPOLLIN : 0u) | (con->want_out ? EPOLLOUT : 0u);

	loop_mod(&vm.loop, &vm.agent, events);
}

/* Likewise. */
static void on_watch_net(struct virtio_net *net)
{
	(void)net;
	vm_tap_watch(&vm.tap);
}

/* What epoll said before the stream was held is no news any more. */
static void on_agent(struct loop_source *source, uint32_t revents)
{
	struct error err;

	if (!vm.fork.held && machine_agent_ready(&vm.machine, &err) < 0)
		end(err.text, EIO);
	/* The broker closes this descriptor and the control socket together. */
	if (revents & (EPOLLHUP | EPOLLERR)) {
		pthread_mutex_lock(&vm.machine.lock);
		loop_del(&vm.loop, source);
		pthread_mutex_unlock(&vm.machine.lock);
	}
}

/* Between the orders of one fork; the vCPUs are parked. */
static void hold(bool on)
{
	if (on)
		loop_mod(&vm.loop, &vm.agent, 0);
	else
		on_watch(&vm.machine.console);
}

static void still(bool on)
{
	vm_tap_still(&vm.tap, on);
}

static int watch_children(void)
{
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : loop_add(&vm.loop, &vm.children, fd, EPOLLIN, on_children);
}

/*
 * Other signals end the process as they do by default, except a broken pipe.
 * #syscalls:vm epoll_create1 epoll_wait eventfd2 signalfd4 fcntl(1==F_GETFL)
 * fcntl(1==F_SETFL) sendto ioctl(1==FIONREAD)
 */
static int watch_all(struct error *err)
{
	int r = loop_init(&vm.loop, err);

	if (r < 0)
		return r;
	pthread_mutex_init(&vm.death_lock, NULL);
	loop_timer_init(&vm.reap, on_reap);
	vm.death_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm.death_fd < 0)
		return error_set(err, errno, "cannot make an eventfd");
	r = io_set_nonblock(VM_AGENT_FD, true);
	if (!r)
		r = watch_children();
	if (!r)
		r = loop_add(&vm.loop, &vm.death, vm.death_fd, EPOLLIN, on_death);
	if (!r)
		r = loop_add(&vm.loop, &vm.control, VM_CONTROL_FD, EPOLLIN, on_control);
	if (!r)
		r = loop_add(&vm.loop, &vm.agent, VM_AGENT_FD, 0, on_agent);
	return r ? error_set(err, -r, "cannot watch the broker's sockets") : 0;
}

static void say_busy(void)
{
	say(json_pack("{s:s}", "event", "busy"));
}

/* What is still to be done is done with what is open by now. */
static int enter_jail(const json_t *start, struct error *err)
{
	const struct jail jail = {
	    .name = "a VM",
	    .uid = (uid_t)json_integer_value(json_object_get(start, "user")),
	    .namespaces =
		CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
	    .root = JAIL_ROOT_FILES,
	    .calls = JAIL_CALLS_VM,
	};
	int r;

	vm_limits_processes(
	    (uint64_t)json_integer_value(json_object_get(start, "processes")));
	r = jail_enter(&jail, err);

#ifndef __SANITIZE_ADDRESS__ /* which reports there */
	/* What it says goes to the broker, bounded, and to nobody's terminal or log. */
	if (r == 0 && (dup2(STDIN_FILENO, STDOUT_FILENO) < 0 ||
		       dup2(STDIN_FILENO, STDERR_FILENO) < 0))
		r = error_set(err, errno, "cannot let go of standard error");
#endif
	return r;
}

/* A machine that was frozen: its file is what a VM process has written. */
static int thaw(const json_t *start, struct machine_config *config, struct error *err)
{
	cleanup_close int fd = -1, other_fd = -1;
	const char *name, *file, *other = NULL;
	int r;

	if (json_unpack((json_t *)start, "{s:s, s:s, s:s, s?s}", "name", &name, "base",
			&config->base, "file", &file, "other", &other) < 0)
		return error_say(err, EPROTO, "the start message lacks something");
	prctl(PR_SET_NAME, name);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "cannot open the frozen machine");
	other_fd = other ? open(other, O_RDONLY | O_CLOEXEC) : -1;
	if (other && other_fd < 0)
		return error_set(err, errno,
				 "cannot open the machine that it was compared with");
	r = machine_open(&vm.machine, config, err);
	if (r == 0)
		r = enter_jail(start, err);
	return r ? r : machine_thaw(&vm.machine, config, fd, other_fd, say_busy, err);
}

static int build(const json_t *start, struct error *err)
{
	struct machine_config config = {
	    .agent_fd = VM_AGENT_FD,
	    .dead = set_reason,
	    .watch = on_watch,
	    .watch_net = on_watch_net,
	};
	json_int_t memory_mib, vcpus, disk_mib;
	const char *op, *name;
	int r;

	if (json_object_get(start, "file"))
		return thaw(start, &config, err);
	if (json_unpack((json_t *)start, "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I}",
			"op", &op, "name", &name, "kernel", &config.kernel, "initramfs",
			&config.initramfs, "base", &config.base, "upper", &config.upper,
			"memory_mib", &memory_mib, "vcpus", &vcpus, "disk_mib",
			&disk_mib) < 0 ||
	    strcmp(op, "start") != 0 || memory_mib < 0 || vcpus < 0 || disk_mib < 0)
		return error_say(err, EPROTO, "the start message lacks something");
	config.memory_mib = (uint64_t)memory_mib;
	config.vcpus = (uint64_t)vcpus;
	config.disk_mib = (uint64_t)disk_mib;
	prctl(PR_SET_NAME, name);
	r = machine_init(&vm.machine, &config, err);
	return r ? r : enter_jail(start, err);
}

/* This process has just been forked from another VM: be one of its own. */
static int part(struct error *err)
{
	int r;

	close(vm.death_fd);
	close(vm.children.fd);
	loop_timer_cancel(&vm.reap);
	vm_tap_part(&vm.tap);
	loop_fini(&vm.loop);
	vm_fork_take_fds(&vm.fork, VM_CONTROL_FD, VM_AGENT_FD);
	r = watch_all(err);
	return r ? r : vm_fork_part(&vm.fork, VM_AGENT_FD, err);
}

static int begin(struct error *err)
{
	static const struct vm_fork_ops fork_ops = {
	    .answer = send_answer, .hold = hold, .still = still, .busy = say_busy};
	struct vm_fork_fds none;
	json_t *start = receive(0, &none);
	int r = watch_all(err);

	vm_fork_init(&vm.fork, &vm.machine, &vm.loop, &fork_ops);
	vm_tap_init(&vm.tap, &vm.machine, &vm.loop, end);
	if (!r)
		r = build(start, err);
	json_decref(start);
	if (!r)
		vm_limits_set(&vm.machine);
	return r ? r : vcpus_start(&vm.machine.vcpus, err);
}

int vm_main(int argc, char **argv)
{
	struct error err;
	int r;

	(void)argc;
	(void)argv;
	mallopt(M_ARENA_MAX, 1); /* to know how many there may be, files of /sys are read */
	r = begin(&err);
	while (!r) {
		say(json_pack("{s:s}", "event", "started"));
		r = loop_run(&vm.loop);
		if (r < 0)
			error_set(&err, -r, "the VM's event loop failed");
		else
			r = part(&err); /* nothing else ends the loop */
	}
	end(err.text, -err.code);
}
