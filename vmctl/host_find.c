#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/host_disks.h"
#include "vmctl/host_qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPTIONS	       "options"
#define END_WAIT_MS    10000
#define LISTEN_WAIT_MS 10000
#define PAUSE_NS       20000000

void qemu_init(struct qemu *qemu)
{
	*qemu =
	    (struct qemu){.pid = -1, .pidfd = -1, .line = -1, .monitor = -1, .console = -1};
	for (int i = 0; i < HOST_PORTS; i++)
		qemu->ports[i] = -1;
}

void qemu_socket(int number, char *name)
{
	if (number < HOST_PORTS)
		snprintf(name, 16, "port%d", number);
	else
		snprintf(name, 16, "%s", number == HOST_PORTS ? "line" : "monitor");
}

static int *socket_of(struct qemu *qemu, int number)
{
	if (number < HOST_PORTS)
		return &qemu->ports[number];
	return number == HOST_PORTS ? &qemu->line : &qemu->monitor;
}

int qemu_join(struct qemu *qemu, const struct host_dir *dir, struct error *err)
{
	for (int i = 0; i < QEMU_SOCKETS; i++) {
		int *fd = socket_of(qemu, i);
		char name[16];

		if (*fd >= 0)
			continue;
		qemu_socket(i, name);
		*fd = host_dir_connect(dir, name, NULL);
		if (*fd < 0)
			return error_set(err, -*fd, "cannot connect to %s/%s", dir->path,
					 name);
	}
	return 0;
}

/* A path that means the same to whoever reads it later. */
static json_t *whole_path(const char *path)
{
	cleanup_free char *whole = path ? realpath(path, NULL) : NULL;

	return whole ? json_string(whole) : json_null();
}

int qemu_note(const struct host_dir *dir, const struct qemu_options *options,
	      struct error *err)
{
	int r = host_dir_put(dir, OPTIONS,
			     json_pack("{s:o, s:o, s:i}", "images",
				       whole_path(options->images), "state",
				       whole_path(options->state), "vmctl", (int)getpid()));

	return r < 0 ? error_set(err, -r, "cannot write to %s", dir->path) : 0;
}

/* Return: 1, 0 when it has ended, or -errno. */
static int watch(struct qemu *qemu, pid_t pid)
{
	qemu->pid = pid;
	qemu->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (qemu->pidfd >= 0)
		return 1;
	return errno == ESRCH ? 0 : -errno;
}

/*
 * Connect to the monitor of whoever has it. Before QEMU listens itself the process at the
 * socket is the vmctl that has started it, which is no more.
 *
 * Return: 1 when it is there, 0 when nobody has it, or -errno.
 */
static int connect_to(struct qemu *qemu, const struct host_dir *dir, const json_t *noted)
{
	uint64_t until = io_monotonic_ns() + LISTEN_WAIT_MS * 1000000ull;
	pid_t vmctl = (pid_t)json_integer_value(json_object_get(noted, "vmctl")), peer;
	const struct timespec pause = {.tv_nsec = PAUSE_NS};

	do {
		int fd = host_dir_connect(dir, "monitor", &peer);

		if (fd < 0)
			return fd == -ENOENT || fd == -ECONNREFUSED ? 0 : fd;
		if (peer != vmctl) {
			qemu->monitor = fd;
			return watch(qemu, peer);
		}
		close(fd);
		nanosleep(&pause, NULL);
	} while (io_monotonic_ns() < until);
	return 0;
}

static bool is_same(const json_t *noted, const char *key, const char *path)
{
	json_t *now = whole_path(path);
	bool same = json_equal(json_object_get(noted, key), now);

	json_decref(now);
	return same;
}

static int cannot_take_up(const struct host_dir *dir, int r, struct error *err)
{
	return error_set(err, -r,
			 "cannot take up the emulated host that a former vmctl has left "
			 "at %s",
			 dir->path);
}

/* Return: 1: it can be taken up; 0: it cannot, and may end; or -errno: it may not. */
static int check(const struct qemu *qemu, const struct host_dir *dir, const json_t *noted,
		 const struct qemu_options *options, struct error *err)
{
	int known = noted ? disks_known(dir) : 0;

	if (known < 0)
		return cannot_take_up(dir, known, err);
	if (!known)
		return 0;
	if (is_same(noted, "images", options->images) &&
	    is_same(noted, "state", options->state))
		return 1;
	return error_say(err, EBUSY,
			 "at %s an emulated host runs that was started with other images "
			 "or another state directory: give vmctl the same, or end it, and "
			 "the machines in it, by kill %d",
			 dir->path, (int)qemu->pid);
}

static int take_up(struct qemu *qemu, const struct host_dir *dir, const json_t *noted,
		   const struct qemu_options *options, struct error *err)
{
	int r = check(qemu, dir, noted, options, err);

	if (r <= 0)
		return r;
	qemu->console = host_dir_fifo(dir, CONSOLE, O_RDONLY | O_NONBLOCK, err);
	if (qemu->console < 0)
		return qemu->console;
	r = qemu_join(qemu, dir, err);
	if (r == -ECONNREFUSED || r == -ENOENT)
		return 0; /* it is just ending */
	return r < 0 ? r : 1;
}

void qemu_leave(struct qemu *qemu)
{
	for (int i = 0; i < QEMU_SOCKETS; i++)
		if (*socket_of(qemu, i) >= 0)
			close(*socket_of(qemu, i));
	if (qemu->console >= 0)
		close(qemu->console);
	if (qemu->pidfd >= 0)
		close(qemu->pidfd);
	qemu_init(qemu);
}

int qemu_find(struct qemu *qemu, const struct host_dir *dir,
	      const struct qemu_options *options, struct error *err)
{
	json_t *noted;
	int r = host_dir_get(dir, OPTIONS, &noted);

	if (r == 0)
		r = connect_to(qemu, dir, noted);
	if (r < 0)
		cannot_take_up(dir, r, err);
	if (r > 0)
		r = take_up(qemu, dir, noted, options, err);
	json_decref(noted);
	if (r < 0)
		qemu_leave(qemu);
	if (r)
		return r;
	qemu_stop(qemu);
	host_dir_clear(dir);
	return 0;
}

/* All of its disks are read-only but one, where what counts has been synced. */
void qemu_stop(struct qemu *qemu)
{
	struct pollfd end = {.fd = qemu->pidfd, .events = POLLIN};

	if (qemu->pidfd >= 0) {
		syscall(SYS_pidfd_send_signal, qemu->pidfd, SIGKILL, NULL, 0);
		poll(&end, 1, END_WAIT_MS);
	}
	if (qemu->pid > 0)
		waitpid(qemu->pid, NULL, WNOHANG); /* it may be no child of ours */
	qemu_leave(qemu);
}
