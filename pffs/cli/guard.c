#include "pffs/cli/guard.h"

#include "pffs/cli/mounts.h"
#include "pffs/fs/fs.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_LIMIT_S 60 /* more than the end of a vmctl takes */
#define LINK	       (STDERR_FILENO + 1)

enum order {
	ORDER_CONNECT = 'c',
	ORDER_ADOPT = 'a',
	ORDER_NOTE = 'n',
	ORDER_START = 's',
	ORDER_STOP = 'k',
	ORDER_MOUNT = 'm',
	ORDER_UNMOUNT = 'u',
	ORDER_SPOOL = 't',
	ORDER_TIDY = 'l',
	ORDER_END = 'e',
};

/* With a descriptor, if the order was for one. */
struct answer {
	struct error err;
	pid_t pid;
};

/* In the guard's own process. */
struct keeper {
	const struct guard_options *options;
	struct own_vmctl vmctl;
	pid_t peer; /* who listened at vmctl's socket */
	bool mounted;
};

static int connect_vmctl(struct keeper *k, struct error *err)
{
	int fd = io_connect_unix(k->options->vmctl.socket, err);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	k->peer = 0;
	if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		k->peer = peer.pid;
	return fd;
}

static int mount_once(struct keeper *k, struct error *err)
{
	const struct guard_options *o = k->options;
	int fd;

	if (k->mounted || !o->mountpoint)
		return error_say(err, EBUSY, "there is nothing to mount");
	fd = mounts_make(o->mountpoint, MOUNTS_WHOLE, o->allow_other, err);
	if (fd >= 0)
		fs_read_ahead(o->mountpoint, FS_READ_AHEAD_KIB);
	k->mounted = fd >= 0;
	return fd;
}

static void unmount(struct keeper *k)
{
	if (k->mounted)
		mounts_unmount(k->options->mountpoint, MNT_DETACH);
	k->mounted = false;
}

static int make_spool(const struct keeper *k, struct error *err)
{
	int fd = open(k->options->spool, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd >= 0
		   ? fd
		   : error_set(err, errno, "cannot keep output in %s", k->options->spool);
}

/* Return: a descriptor to be sent along, or -1. */
static int obey(struct keeper *k, enum order order, struct answer *answer)
{
	switch (order) {
	case ORDER_CONNECT:
		return connect_vmctl(k, &answer->err);
	case ORDER_ADOPT:
		answer->pid = own_vmctl_adopt(&k->vmctl, k->peer);
		return -1;
	case ORDER_NOTE:
		own_vmctl_note(&k->vmctl);
		return -1;
	case ORDER_START:
		answer->pid = own_vmctl_start(&k->vmctl, &answer->err);
		return -1;
	case ORDER_STOP:
		own_vmctl_end(&k->vmctl);
		return -1;
	case ORDER_MOUNT:
		return mount_once(k, &answer->err);
	case ORDER_UNMOUNT:
		unmount(k);
		return -1;
	case ORDER_SPOOL:
		return make_spool(k, &answer->err);
	case ORDER_TIDY:
		unlink(k->options->log);
		return -1;
	case ORDER_END:
		unlink(k->options->api_socket);
		return -1;
	}
	error_say(&answer->err, EINVAL, "there is no such order");
	return -1;
}

static int send_answer(int to, const struct answer *answer, int fd)
{
	return io_send_fd(to, answer, sizeof(*answer), fd, 0);
}

/* What ends pffs by a signal is pffs's affair; that ends the guard. */
static void stand_apart(int fd)
{
	sigset_t set;

	prctl(PR_SET_NAME, "pffs-guard");
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (fd != LINK)
		dup3(fd, LINK, O_CLOEXEC);
	close_range(LINK + 1, ~0u, 0);
}

static _Noreturn void be_guard(const struct guard_options *options, int fd)
{
	struct keeper keeper = {.options = options, .vmctl = {.options = &options->vmctl}};
	char order = 0;

	stand_apart(fd);
	while (order != ORDER_END && recv(LINK, &order, 1, 0) == 1) {
		struct answer answer = {.pid = 0};
		cleanup_close int sent = obey(&keeper, (enum order)order, &answer);

		if (send_answer(LINK, &answer, sent) < 0)
			break;
	}
	_exit(EXIT_SUCCESS);
}

int guard_begin(struct guard *guard, const struct guard_options *options, struct error *err)
{
	const struct timeval limit = {.tv_sec = ANSWER_LIMIT_S};
	int pair[2];
	pid_t pid;

	*guard = GUARD_NONE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot start pffs's guard");
	pid = fork();
	if (pid == 0)
		be_guard(options, pair[1]);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return error_set(err, errno, "cannot start pffs's guard");
	}
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	guard->fd = pair[0];
	guard->pid = pid;
	return 0;
}

/* @fd is set to the descriptor that came along, or -1. Return: 0 or -EPIPE. */
static int receive_answer(int from, struct answer *answer, int *fd)
{
	if (io_receive_fd(from, answer, sizeof(*answer), fd) == sizeof(*answer))
		return 0;
	io_close_all(fd, 1);
	return -EPIPE;
}

/* One whose answer did not come in time is given up: the next would not be to the point. */
static int lost(struct guard *guard, struct error *err)
{
	if (guard->fd >= 0) {
		close(guard->fd);
		fprintf(stderr, "pffs: its guard, process %d, does not answer\n",
			guard->pid);
	}
	guard->fd = -1;
	return error_say(err, EPIPE,
			 "the process that keeps pffs's rights has ended: freeze what is "
			 "needed, and mount again");
}

/* @fd is set to the descriptor that was asked for, or -1. Return: 0 or -errno with @err. */
static int ask(struct guard *guard, enum order order, struct answer *answer, int *fd,
	       struct error *err)
{
	const char byte = (char)order;

	*answer = (struct answer){.pid = 0};
	*fd = -1;
	if (guard->fd < 0 || send(guard->fd, &byte, 1, MSG_NOSIGNAL) != 1 ||
	    receive_answer(guard->fd, answer, fd) < 0)
		return lost(guard, err);
	if (answer->err.code && err)
		*err = answer->err;
	return answer->err.code;
}

static int ask_fd(struct guard *guard, enum order order, struct error *err)
{
	struct answer answer;
	int fd, r = ask(guard, order, &answer, &fd, err);

	return r < 0 ? r : fd;
}

/* Return: the process id that was asked for, 0 for none; or -errno with @err filled. */
static pid_t ask_pid(struct guard *guard, enum order order, struct error *err)
{
	struct answer answer;
	int fd, r = ask(guard, order, &answer, &fd, err);

	return r < 0 ? r : answer.pid;
}

int guard_connect(struct guard *guard, struct error *err)
{
	return ask_fd(guard, ORDER_CONNECT, err);
}

pid_t guard_adopt(struct guard *guard)
{
	pid_t pid = ask_pid(guard, ORDER_ADOPT, NULL);

	return pid > 0 ? pid : 0;
}

void guard_note(struct guard *guard)
{
	ask_pid(guard, ORDER_NOTE, NULL);
}

pid_t guard_start(struct guard *guard, struct error *err)
{
	return ask_pid(guard, ORDER_START, err);
}

int guard_stop(struct guard *guard)
{
	return ask_pid(guard, ORDER_STOP, NULL);
}

int guard_mount(struct guard *guard, struct error *err)
{
	return ask_fd(guard, ORDER_MOUNT, err);
}

void guard_unmount(struct guard *guard)
{
	ask_pid(guard, ORDER_UNMOUNT, NULL);
}

int guard_spool(struct guard *guard)
{
	return ask_fd(guard, ORDER_SPOOL, NULL);
}

void guard_tidy(struct guard *guard)
{
	ask_pid(guard, ORDER_TIDY, NULL);
}

void guard_end(struct guard *guard)
{
	if (!guard->pid)
		return;
	if (guard->fd >= 0)
		ask_pid(guard, ORDER_END, NULL);
	if (guard->fd >= 0)
		close(guard->fd);
	waitpid(guard->pid, NULL, 0);
	*guard = GUARD_NONE;
}
