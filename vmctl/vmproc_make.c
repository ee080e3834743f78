#include "vmctl/vmproc.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/fork.h"
#include "vmctl/freeze.h"
#include "vmctl/jail.h"
#include "vmctl/keeper.h"
#include "vmctl/ops.h"
#include "vmctl/procfs.h"
#include "vmctl/spawn.h"
#include "vmctl/vmproc_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static json_t *pack_boot(const struct vmproc_spec *spec)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i}", "op", "start",
			 "name", spec->name, "kernel", spec->kernel, "initramfs",
			 spec->initramfs, "base", spec->base, "upper", spec->upper,
			 "memory_mib", spec->memory_mib, "vcpus", spec->vcpus, "disk_mib",
			 spec->disk_mib);
}

static json_t *pack_thaw(const struct vmproc_spec *spec)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s*}", "op", "start", "name", spec->name,
			 "base", spec->base, "file", spec->file, "other", spec->other);
}

static int send_start(struct vmproc *vm, const struct vmproc_spec *spec, struct error *err)
{
	json_t *start = spec->file ? pack_thaw(spec) : pack_boot(spec);
	json_int_t user = jail_user(vm->facts->id);
	/* One family is not to take all that there can be. */
	json_int_t processes = (json_int_t)(procfs_processes() / 2);
	int r =
	    start && json_object_set_new(start, "user", json_integer(user)) == 0 &&
		    json_object_set_new(start, "processes", json_integer(processes)) == 0
		? vmproc_ask(vm, start, NULL, 0, err)
		: error_set(err, ENOMEM, "cannot make a VM");

	json_decref(start);
	return r;
}

/* Two connected sockets: [0] for us, non-blocking, [1] for the VM process. */
static int make_pair(int type, int pair[2], struct error *err)
{
	int bytes = VMPROC_MESSAGE_MAX, yes = 1;

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot make a socket pair for a VM");
	if (setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (type == SOCK_SEQPACKET)
		setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes));
	/* Or else a byte out of band could be waited for, but never be looked at. */
	if (type == SOCK_STREAM)
		setsockopt(pair[0], SOL_SOCKET, SO_OOBINLINE, &yes, sizeof(yes));
	return io_set_nonblock(pair[0], true);
}

/* The VM's two pairs of sockets; @theirs are the caller's, also on failure. */
static int make_sockets(struct vmproc *vm, int theirs[VMPROC_FDS], struct error *err)
{
	int control[2] = {-1, -1}, agent[2] = {-1, -1};
	int r = make_pair(SOCK_SEQPACKET, control, err);

	if (r == 0)
		r = make_pair(SOCK_STREAM, agent, err);
	theirs[0] = control[1];
	theirs[1] = agent[1];
	vm->control_fd = control[0];
	channel_init(&vm->channel, &vm->broker->loop, vm->kept, agent[0],
		     ops_channel_drained);
	if (r == 0)
		r = vmproc_watch_control(vm);
	if (r == 0)
		keeper_put(vm->broker, vm);
	return r;
}

/* Return: what the family's init waits at the end of, the caller's; or -errno with @err. */
static int make_family(struct vmproc *vm, struct error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot make a pipe for a VM");
	vm->family_fd = ends[1];
	return ends[0];
}

/* @child will be of the family of @parent, which lives. */
static int join_family(struct vmproc *child, const struct vmproc *parent, struct error *err)
{
	child->facts->pid_ns = parent->facts->pid_ns;
	child->family_fd = fcntl(parent->family_fd, F_DUPFD_CLOEXEC, 0);
	return child->family_fd < 0 ? error_set(err, errno, "cannot make a VM") : 0;
}

static int vmproc_exec(struct vmproc *vm, struct error *err)
{
	const char *program = vm->broker->config.vm_program;
	const char *argv[] = {"vmctl", "vm", NULL};
	cleanup_close int alive = make_family(vm, err);
	int fds[VMPROC_FDS] = {-1, -1};
	int r = alive < 0 ? alive : make_sockets(vm, fds, err);
	struct spawn_options options = {.fds = fds,
					.count = VMPROC_FDS,
					.family = jail_user(vm->facts->id),
					.alive = alive};
	pid_t pid = r < 0 ? r : spawn(program, argv, &options, err);

	io_close_all(fds, VMPROC_FDS);
	if (pid < 0)
		return pid;
	vmproc_set_pid(vm, pid);
	vm->facts->pid_ns = procfs_pid_namespace(pid);
	vm->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	keeper_process(vm->broker, vm);
	return vm->pidfd < 0 ? error_set(err, errno, "cannot watch a VM's process") : 0;
}

/* @vm, zeroed, is the VM that @kept is of; both are its own, and @kept_fd. */
static void init(struct vmproc *vm, struct broker *broker, struct kept *kept, int kept_fd)
{
	vm->broker = broker;
	vm->kept = kept;
	vm->facts = &kept->facts;
	vm->kept_fd = kept_fd;
	vm->control_fd = vm->pidfd = vm->family_fd = -1;
	vm->control = vm->exited = LOOP_SOURCE_NONE;
	loop_timer_init(&vm->grace, vmproc_on_grace);
	list_init(&vm->requests);
	list_init(&vm->pid_bucket);
	broker->vm_count++;
	list_add_before(&broker->vms, &vm->link);
	list_add_before(&broker->buckets[kept->facts.id % BROKER_BUCKETS], &vm->bucket);
}

static void describe(struct vm_facts *facts, const struct vmproc_spec *spec)
{
	facts->memory_mib = spec->memory_mib;
	facts->vcpus = spec->vcpus;
	snprintf(facts->name, sizeof(facts->name), "%s", spec->name);
	snprintf(facts->template, sizeof(facts->template), "%s", spec->template);
	snprintf(facts->group, sizeof(facts->group), "%s", spec->group);
}

/* A VM of what @kept_fd is mapped at; takes both over. Return: NULL with @err filled. */
static struct vmproc *make(struct broker *broker, struct kept *kept, int kept_fd,
			   struct error *err)
{
	struct vmproc *vm = calloc(1, sizeof(*vm));

	if (vm) {
		init(vm, broker, kept, kept_fd);
		return vm;
	}
	kept_free(kept);
	close(kept_fd);
	error_set(err, ENOMEM, "cannot make a VM");
	return NULL;
}

/* A VM without a process, or NULL with @err filled. */
static struct vmproc *vmproc_new(struct broker *broker, const struct vmproc_spec *spec,
				 struct error *err)
{
	struct kept *kept;
	int fd;

	if (broker->stopping || broker->last_id == UINT32_MAX) {
		error_say(err, ESHUTDOWN, "vmctl is about to end");
		return NULL;
	}
	kept = kept_new(&fd, err);
	if (!kept)
		return NULL;
	kept->facts.id = ++broker->last_id;
	describe(&kept->facts, spec);
	return make(broker, kept, fd, err);
}

int vmproc_adopt(struct broker *broker, int fds[KEEP_FDS_MAX], struct error *err)
{
	struct kept *kept = kept_map(fds[2], err);
	struct vmproc *vm = kept ? make(broker, kept, steal_fd(&fds[2]), err) : NULL;
	int r;

	if (!vm)
		return err->code;
	vm->adopted = true;
	vm->control_fd = steal_fd(&fds[0]);
	channel_init(&vm->channel, &broker->loop, kept, steal_fd(&fds[1]),
		     ops_channel_drained);
	vm->family_fd = steal_fd(&fds[3]);
	vm->pidfd = steal_fd(&fds[4]);
	if (vm->pidfd < 0)
		vm->facts->pid = 0; /* who has that number now is not known */
	else
		vmproc_set_pid(vm, vm->facts->pid);
	r = vmproc_watch_control(vm);
	if (r == 0 && vm->pidfd >= 0)
		r = vmproc_watch_exit(vm);
	return r < 0 ? error_set(err, -r, "cannot watch a VM") : 0;
}

/* Only what the process itself knows is asked for; what was under way is called off. */
void vmproc_go_on(struct vmproc *vm)
{
	json_t *count;

	if (!vm->facts->seen)
		vm->facts->destroying = true;
	if (vm->facts->dead) {
		vmproc_reaped(vm, 0); /* the reason is known */
		return;
	}
	if (vm->facts->destroying) {
		vmproc_destroy(vm);
		return;
	}
	fork_cancel(vm);
	if (vm->facts->freezing[0])
		freeze_undo(vm);
	if (!vm->channel.unsure)
		return;
	vm->count_seq = ++vm->facts->last_seq;
	count = json_pack("{s:s, s:I}", "op", "agent", "seq", (json_int_t)vm->count_seq);
	if (count)
		vmproc_ask(vm, count, NULL, 0, NULL);
	json_decref(count);
}

int vmproc_start(struct broker *broker, const struct vmproc_spec *spec, struct vmproc **vm,
		 struct error *err)
{
	struct vmproc *made = vmproc_new(broker, spec, err);
	int r;

	if (!made)
		return err->code;
	r = vmproc_exec(made, err);
	if (r == 0)
		r = send_start(made, spec, err);
	if (r < 0) {
		vmproc_destroy(made);
		return r;
	}
	if (spec->other_name)
		snprintf(made->facts->base, sizeof(made->facts->base), "%s",
			 spec->other_name);
	made->facts->seen = !spec->file;
	*vm = made;
	return 0;
}

struct vmproc *vmproc_prepare(struct vmproc *parent, const char *name, int fds[VMPROC_FDS],
			      struct error *err)
{
	const struct vmproc_spec spec = {
	    .template = parent->facts->template,
	    .name = name,
	    .group = parent->facts->group,
	    .memory_mib = parent->facts->memory_mib,
	    .vcpus = parent->facts->vcpus,
	};
	struct vmproc *vm = vmproc_new(parent->broker, &spec, err);

	if (!vm)
		return NULL;
	vm->facts->parent = parent->facts->id;
	strcpy(vm->facts->base, parent->facts->base);
	if (join_family(vm, parent, err) == 0 && make_sockets(vm, fds, err) == 0)
		return vm;
	io_close_all(fds, VMPROC_FDS);
	vmproc_destroy(vm);
	return NULL;
}
