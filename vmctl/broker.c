#include "vmctl/broker.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/cgroup.h"
#include "vmctl/client.h"
#include "vmctl/freeze.h"
#include "vmctl/vmproc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void reap_children(struct broker *broker)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct vmproc *vm = broker_find_pid(broker, pid);

		if (vm)
			vmproc_reaped(vm, status);
	}
	cgroup_tidy(&broker->left_groups);
}

static void on_signal(struct loop_source *source, uint32_t revents)
{
	struct broker *broker = container_of(source, struct broker, signals);
	struct signalfd_siginfo info;

	(void)revents;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap_children(broker);
		else
			broker_stop(broker);
	}
}

static void on_connection(struct loop_source *source, uint32_t revents)
{
	struct broker *broker = container_of(source, struct broker, listener);
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct error err;

	(void)revents;
	if (fd < 0)
		return;
	if (client_add(broker, fd, false, &err) < 0)
		fprintf(stderr, "vmctl: %s\n", err.text);
}

/* A VM takes five descriptors, and a fork seven while it is made. */
static void raise_limit(void)
{
	struct rlimit limit;
	size_t len;
	cleanup_free char *most = io_read_file("/proc/sys/fs/nr_open", 64, &len, NULL);

	io_raise_descriptors();
	limit.rlim_cur = limit.rlim_max = most ? strtoul(most, NULL, 10) : 0;
	if (limit.rlim_max)
		setrlimit(RLIMIT_NOFILE, &limit); /* for root alone */
}

/* What a former broker left. */
static int take_up(struct broker *broker, struct error *err)
{
	int r = keeper_open(broker, broker->config.keeper, err);
	struct vmproc *vm;

	if (r < 0)
		return r;
	list_for_each (vm, &broker->vms, struct vmproc, link)
		vmproc_go_on(vm);
	netproc_go_on(broker);
	freeze_tidy_all(broker);
	return 0;
}

int broker_init(struct broker *broker, const struct broker_config *config,
		struct error *err)
{
	sigset_t signals;
	int r;

	*broker = (struct broker){
	    .config = *config,
	    .started_ns = io_monotonic_ns(),
	    .listener = LOOP_SOURCE_NONE,
	    .keeper = {.source = LOOP_SOURCE_NONE},
	    .limits_cpu = cgroup_usable(),
	};
	if (!broker->config.deadline_ms)
		broker->config.deadline_ms = BROKER_DEADLINE_MS;
	netproc_init(broker);
	store_open(&broker->store, config->state);
	list_init(&broker->clients);
	list_init(&broker->vms);
	list_init(&broker->left_groups);
	for (int i = 0; i < BROKER_BUCKETS; i++) {
		list_init(&broker->buckets[i]);
		list_init(&broker->pids[i]);
	}
	r = loop_init(&broker->loop, err);
	if (r < 0)
		return r;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	raise_limit();
	/* A fork whose parent has ended becomes ours. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	broker->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (broker->signal_fd < 0)
		return error_set(err, errno, "cannot take signals");
	r = loop_add(&broker->loop, &broker->signals, broker->signal_fd, EPOLLIN,
		     on_signal);
	return r < 0 ? error_set(err, -r, "cannot take signals") : take_up(broker, err);
}

int broker_listen(struct broker *broker, int fd, struct error *err)
{
	int r = loop_add(&broker->loop, &broker->listener, fd, EPOLLIN, on_connection);

	return r < 0 ? error_set(err, -r, "cannot listen") : 0;
}

int broker_run(struct broker *broker, struct error *err)
{
	int r = loop_run(&broker->loop);

	return r < 0 ? error_set(err, -r, "cannot wait for events") : 0;
}

static void stop_when_empty(struct broker *broker)
{
	if (broker->stopping && list_empty(&broker->vms))
		loop_stop(&broker->loop);
}

void broker_stop(struct broker *broker)
{
	struct vmproc *vm;

	broker->stopping = true;
	loop_del(&broker->loop, &broker->listener);
	list_for_each (vm, &broker->vms, struct vmproc, link)
		vmproc_destroy(vm);
	stop_when_empty(broker);
}

void broker_vm_gone(struct broker *broker)
{
	broker->vm_count--;
	stop_when_empty(broker);
}

void broker_fini(struct broker *broker)
{
	struct client *client;

	list_for_each (client, &broker->clients, struct client, link)
		client_free(client);
	netproc_close(broker);
	keeper_close(broker);
	loop_del(&broker->loop, &broker->signals);
	close(broker->signal_fd);
	loop_fini(&broker->loop);
	cgroup_forget(&broker->left_groups);
	store_close(&broker->store);
}

struct vmproc *broker_find_any(struct broker *broker, uint32_t id)
{
	struct vmproc *vm;

	list_for_each (vm, &broker->buckets[id % BROKER_BUCKETS], struct vmproc, bucket)
		if (vm->channel.id == id && vm->facts->seen)
			return vm;
	return NULL;
}

struct vmproc *broker_find_pid(struct broker *broker, pid_t pid)
{
	struct vmproc *vm;

	list_for_each (vm, &broker->pids[(unsigned)pid % BROKER_BUCKETS], struct vmproc,
		       pid_bucket)
		if (vm->facts->pid == pid)
			return vm;
	return NULL;
}

struct vmproc *broker_find(struct broker *broker, uint32_t id)
{
	struct vmproc *vm = broker_find_any(broker, id);

	return vm && !vm->facts->destroying ? vm : NULL;
}
