#include "vmctl/vm.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "util/loop.h"
#include "vmctl/machine.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct vm {
	struct machine machine;
	struct loop loop;
	struct loop_source control, agent, death;
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
	if (text && send(VM_CONTROL_FD, text, strlen(text), MSG_NOSIGNAL) < 0)
		fprintf(stderr, "vmctl vm: cannot send to the broker: %s\n",
			strerror(errno));
}

/* The log goes along: nobody can ask for it any more. */
_Noreturn static void end(const char *reason)
{
	conlog_text(&vm.machine.log, vm.log_text);
	say(json_pack("{s:s, s:s, s:s}", "event", "dead", "reason", reason, "log",
		      vm.log_text));
	_exit(0);
}

/* The first reason counts. The main thread tells it. */
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
	end(vm.reason);
}

static json_t *log_answer(void)
{
	conlog_text(&vm.machine.log, vm.log_text);
	return json_pack("{s:s}", "log", vm.log_text);
}

static json_int_t resident_bytes(void)
{
	size_t len;
	cleanup_free char *text = io_read_file("/proc/self/statm", 4096, &len, NULL);
	const char *resident = text ? strchr(text, ' ') : NULL;

	return resident ? strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE) : 0;
}

static json_t *stat_answer(void)
{
	struct rusage usage;
	json_int_t usec;

	getrusage(RUSAGE_SELF, &usage);
	usec = (json_int_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
	       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	return json_pack("{s:I, s:I, s:I}", "cpu_usec", usec, "memory_bytes",
			 resident_bytes(), "disk_bytes",
			 (json_int_t)disk_allocated(&vm.machine.upper));
}

static void answer(const json_t *request)
{
	const char *op = json_string_value(json_object_get(request, "op"));
	json_t *seq = json_object_get(request, "seq"), *reply;

	if (op && strcmp(op, "log") == 0)
		reply = log_answer();
	else if (op && strcmp(op, "stat") == 0)
		reply = stat_answer();
	else
		reply = json_pack("{s:s, s:i}", "error", "a VM knows log and stat only",
				  "errno", EINVAL);
	json_object_set(reply, "seq", seq ? seq : json_null());
	say(reply);
}

/*
 * One message from the broker, whose end ends us.
 * Return: an object to json_decref(), or NULL when there is none now.
 */
static json_t *receive(int flags)
{
	static char text[VM_MESSAGE_MAX];
	ssize_t n;

	do
		n = recv(VM_CONTROL_FD, text, sizeof(text), flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return NULL;
	if (n <= 0)
		_exit(0);
	return json_loadb(text, (size_t)n, 0, NULL);
}

static void on_control(struct loop_source *source, uint32_t revents)
{
	json_t *request = receive(MSG_DONTWAIT);

	(void)source;
	(void)revents;
	if (request)
		answer(request);
	json_decref(request);
}

/* Under the device lock, in any thread. */
static void on_watch(struct virtio_console *con)
{
	uint32_t events = (con->want_in ? EPOLLIN : 0u) | (con->want_out ? EPOLLOUT : 0u);

	loop_mod(&vm.loop, &vm.agent, events);
}

static void on_agent(struct loop_source *source, uint32_t revents)
{
	struct error err;

	if (machine_agent_ready(&vm.machine, &err) < 0)
		end(err.text);
	/* The broker closes this descriptor and the control socket together. */
	if (revents & (EPOLLHUP | EPOLLERR)) {
		pthread_mutex_lock(&vm.machine.lock);
		loop_del(&vm.loop, source);
		pthread_mutex_unlock(&vm.machine.lock);
	}
}

/* Signals end the process as they do by default, except a broken pipe. */
static int watch_all(struct error *err)
{
	int r = loop_init(&vm.loop, err);

	if (r < 0)
		return r;
	pthread_mutex_init(&vm.death_lock, NULL);
	vm.death_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm.death_fd < 0)
		return error_set(err, errno, "cannot make an eventfd");
	r = io_set_nonblock(VM_AGENT_FD, true);
	if (!r)
		r = loop_add(&vm.loop, &vm.death, vm.death_fd, EPOLLIN, on_death);
	if (!r)
		r = loop_add(&vm.loop, &vm.control, VM_CONTROL_FD, EPOLLIN, on_control);
	if (!r)
		r = loop_add(&vm.loop, &vm.agent, VM_AGENT_FD, 0, on_agent);
	return r ? error_set(err, -r, "cannot watch the broker's sockets") : 0;
}

static int build(const json_t *start, struct error *err)
{
	struct machine_config config = {
	    .agent_fd = VM_AGENT_FD,
	    .dead = set_reason,
	    .watch = on_watch,
	};
	json_int_t memory_mib, vcpus;
	const char *op, *name;
	int room = 1 << 20;

	if (json_unpack((json_t *)start, "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "op",
			&op, "name", &name, "kernel", &config.kernel, "initramfs",
			&config.initramfs, "base", &config.base, "upper", &config.upper,
			"memory_mib", &memory_mib, "vcpus", &vcpus) < 0 ||
	    strcmp(op, "start") != 0 || memory_mib < 0 || vcpus < 0)
		return error_say(err, EPROTO, "the start message lacks something");
	config.memory_mib = (uint64_t)memory_mib;
	config.vcpus = (uint64_t)vcpus;
	prctl(PR_SET_NAME, name);
	setsockopt(VM_CONTROL_FD, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	return machine_init(&vm.machine, &config, err);
}

int vm_main(int argc, char **argv)
{
	json_t *start = receive(0);
	struct error err;
	int r;

	(void)argc;
	(void)argv;
	r = watch_all(&err);
	if (!r)
		r = build(start, &err);
	json_decref(start);
	if (!r)
		r = vcpus_start(&vm.machine.vcpus, &err);
	if (r < 0)
		end(err.text);
	say(json_pack("{s:s}", "event", "started"));
	r = loop_run(&vm.loop);
	error_set(&err, -r, "the VM's event loop failed");
	end(err.text);
}
