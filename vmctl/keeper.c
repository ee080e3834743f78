#include "vmctl/keeper.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/keep.h"
#include "vmctl/spawn.h"
#include "vmctl/vmproc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define AGAIN_MS 1000
#define TRIES	 20 /* until a keeper that was about to end is gone */
#define TRY_US	 50000

static struct keeper *keeper_of(struct broker *broker)
{
	return &broker->keeper;
}

/* It has ended, or does not answer: another one is needed. */
static void lose(struct broker *broker)
{
	struct keeper *keeper = keeper_of(broker);
	int fd = keeper->source.fd;

	if (fd < 0)
		return;
	loop_del(&broker->loop, &keeper->source);
	close(fd);
	loop_timer_set(&broker->loop, &keeper->again, AGAIN_MS);
}

/* It says nothing unasked. */
static void on_keeper(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	lose(container_of(source, struct broker, keeper.source));
}

static int use(struct broker *broker, int fd, struct error *err)
{
	const struct timeval patience = {.tv_sec = 2};
	int r = loop_add(&broker->loop, &keeper_of(broker)->source, fd, EPOLLIN, on_keeper);

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (r == 0)
		return 0;
	close(fd);
	return error_set(err, -r, "cannot watch the keeper of the VMs");
}

static int start(struct broker *broker, struct error *err)
{
	const char *argv[] = {"vmctl", "keep", keeper_of(broker)->path, NULL};
	cleanup_close int listen_fd = io_listen_unix(keeper_of(broker)->path, err);
	cleanup_close int ours = -1, theirs = -1;
	int pair[2];
	pid_t pid;

	if (listen_fd < 0)
		return listen_fd;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot make a socket pair");
	ours = pair[0];
	theirs = pair[1];
	pid = spawn("/proc/self/exe", argv,
		    &(struct spawn_options){.fds = (int[]){listen_fd, theirs}, .count = 2},
		    err);
	return pid < 0 ? pid : use(broker, steal_fd(&ours), err);
}

static void send_all(struct broker *broker)
{
	const struct vmproc *vm;

	keeper_net(broker, broker->net.peer.fd);
	list_for_each (vm, &broker->vms, struct vmproc, link) {
		keeper_put(broker, vm);
		keeper_process(broker, vm);
	}
}

/* One that had no memory, or did not answer for a while, is there and waits. */
static int find_again(struct broker *broker, struct error *err)
{
	int fd = io_connect_unix(keeper_of(broker)->path, err);
	int r = fd < 0 ? fd : keep_send(fd, KEEP_CLEAR, 0, NULL, 0);

	if (fd >= 0 && r < 0)
		close(fd);
	return r < 0 ? r : use(broker, fd, err);
}

static void start_or_say(struct broker *broker, bool again)
{
	struct keeper *keeper = keeper_of(broker);
	struct error err;

	if ((again && find_again(broker, &err) == 0) || start(broker, &err) == 0) {
		keeper->said = false;
		send_all(broker);
		return;
	}
	if (!keeper->said)
		fprintf(stderr,
			"vmctl: should vmctl be killed now, its VMs end with it: %s\n",
			err.text);
	keeper->said = true;
	loop_timer_set(&broker->loop, &keeper->again, AGAIN_MS);
}

static void on_again(struct loop_timer *timer)
{
	start_or_say(container_of(timer, struct broker, keeper.again), true);
}

/* One VM after the other. Return: 0, or -errno with @err filled. */
static int take_all(struct broker *broker, int fd, struct error *err)
{
	const struct timeval patience = {.tv_sec = 10};
	struct keep_message message = {0};
	int fds[KEEP_FDS_MAX];
	int r;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	r = keep_send(fd, KEEP_TAKE, 0, NULL, 0);
	while (r == 0) {
		r = keep_receive(fd, &message, fds);
		if (r == -EAGAIN) /* what it has given until now it has yet */
			return error_say(err, ETIMEDOUT,
					 "the keeper of a former vmctl's VMs, at %s, does "
					 "not answer: try again, or kill it, and they end",
					 keeper_of(broker)->path);
		if (r <= 0)
			return r ? r : -ECONNRESET;
		if (message.op == KEEP_NET) {
			netproc_adopt(broker, steal_fd(&fds[0]));
			r = 0;
			continue;
		}
		if (message.op != KEEP_PUT)
			break;
		r = vmproc_adopt(broker, fds, err);
		io_close_all(fds, KEEP_FDS_MAX);
		if (r == -EPROTO) {
			fprintf(stderr, "vmctl: VM %u is ended: %s\n", message.id,
				err->text);
			r = keep_send(fd, KEEP_DROP, message.id, NULL, 0);
		}
	}
	if (message.id > broker->last_id)
		broker->last_id = message.id;
	return r < 0 ? r : 0;
}

/* Return: 1, 0 when there is no keeper, -EAGAIN when it ends, or -errno with @err filled.
 */
static int take_up(struct broker *broker, struct error *err)
{
	int fd = io_connect_unix(keeper_of(broker)->path, err), r;

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return 0;
	if (fd < 0)
		return fd;
	err->text[0] = '\0';
	r = take_all(broker, fd, err);
	if (r == 0)
		return (r = use(broker, fd, err)) < 0 ? r : 1;
	close(fd);
	/* It had none, and is about to end. */
	if ((r == -ECONNRESET || r == -EPIPE) && list_empty(&broker->vms))
		return -EAGAIN;
	if (!err->text[0])
		error_set(err, -r, "cannot take up the VMs of a former vmctl from %s",
			  keeper_of(broker)->path);
	return r;
}

int keeper_open(struct broker *broker, const char *path, struct error *err)
{
	struct keeper *keeper = keeper_of(broker);
	int r = -EAGAIN;

	if (!path)
		return 0;
	keeper->path = strdup(path);
	if (!keeper->path)
		return error_set(err, ENOMEM, "cannot start");
	loop_timer_init(&keeper->again, on_again);
	for (int i = 0; i < TRIES && r == -EAGAIN; i++) {
		usleep(i ? TRY_US : 0);
		r = take_up(broker, err);
	}
	if (r == 0)
		start_or_say(broker, false);
	return r < 0 ? r : 0;
}

static void say(struct broker *broker, enum keep_op op, const struct vmproc *vm,
		const int *fds, unsigned count)
{
	int fd = keeper_of(broker)->source.fd;

	if (fd >= 0 && keep_send(fd, op, vm->facts->id, fds, count) < 0)
		lose(broker);
}

void keeper_put(struct broker *broker, const struct vmproc *vm)
{
	const int fds[KEEP_FDS] = {vm->control_fd, vm->channel.fd, vm->kept_fd,
				   vm->family_fd};

	if (vm->control_fd < 0 || vm->channel.fd < 0 || vm->kept_fd < 0 ||
	    vm->family_fd < 0)
		return; /* it is ending, and the keeper that had it has, too */
	say(broker, KEEP_PUT, vm, fds, KEEP_FDS);
}

void keeper_process(struct broker *broker, const struct vmproc *vm)
{
	if (vm->pidfd >= 0)
		say(broker, KEEP_PROCESS, vm, &vm->pidfd, 1);
}

void keeper_ended(struct broker *broker, const struct vmproc *vm)
{
	say(broker, KEEP_ENDED, vm, NULL, 0);
}

void keeper_net(struct broker *broker, int net)
{
	int fd = keeper_of(broker)->source.fd;

	if (fd >= 0 && keep_send(fd, KEEP_NET, 0, &net, net >= 0 ? 1 : 0) < 0)
		lose(broker);
}

void keeper_drop(struct broker *broker, const struct vmproc *vm)
{
	say(broker, KEEP_DROP, vm, NULL, 0);
}

void keeper_close(struct broker *broker)
{
	struct keeper *keeper = keeper_of(broker);
	int fd = keeper->source.fd;

	if (!keeper->path)
		return;
	loop_timer_cancel(&keeper->again);
	loop_del(&broker->loop, &keeper->source);
	/* Nobody is to take it for a living one while it ends. */
	if (fd >= 0 && list_empty(&broker->vms))
		unlink(keeper->path);
	if (fd >= 0)
		close(fd);
	free(keeper->path);
	keeper->path = NULL;
}
