/*
 * The binder itself. It holds nothing but its two sockets, and the table of mounts, in
 * which it looks for the mount that it has bound sockets in whenever that table changes.
 *
 * Each socket of the mount is made by a process of its own: that waits for pffs, while the
 * binder has to answer it.
 */
#include "pffs/core/net/binder_process.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BACKLOG 128

struct process {
	const char *mountpoint; /* or NULL */
	int orders, calls;
	int table;  /* of mounts */
	dev_t *dev; /* of the mount, once something is bound in it; shared */
};

/* Of the mounts of the name space that its opener is in. */
static int open_table(void)
{
	return open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
}

static int answer(int to, const struct binder_reply *reply, int fd)
{
	return io_send_fd(to, reply, sizeof(*reply), fd, 0);
}

/* Mounts are as they are here, and go when this process ends. */
static int leave_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return -errno;
	/* A peer that is in use would be in the way of who unmounts. */
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return 0;
}

/* What is below an unmounted mount is not ours to make sockets in. */
static int enter_mount(const struct process *p)
{
	struct statfs fs;
	struct stat st;

	if (chdir(p->mountpoint) < 0 || statfs(".", &fs) < 0 || stat(".", &st) < 0)
		return -errno;
	if (fs.f_type != FUSE_SUPER_MAGIC)
		return -ENOTCONN;
	*p->dev = st.st_dev;
	return 0;
}

static int bind_name(int fd, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strncpy(address.sun_path, name, sizeof(address.sun_path) - 1);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

/* Is a mount of that device among those that the table lists? proc_pid_mountinfo(5) */
static bool is_mounted(int table, dev_t dev)
{
	cleanup_fclose FILE *file = fdopen(dup(table), "r");
	cleanup_free char *line = NULL;
	char wanted[32];
	size_t room = 0;

	if (!file)
		return true;
	rewind(file);
	snprintf(wanted, sizeof(wanted), " %u:%u ", major(dev), minor(dev));
	while (getline(&line, &room, file) > 0)
		if (strstr(line, wanted))
			return true;
	return false;
}

/* It may have been unmounted while it was entered, which the binder, to whom it was no
 * mount of interest yet, has not told. @table: of the mounts that pffs sees. */
static int bind_in_mount(const struct process *p, int fd, const char *name, int table)
{
	int r = enter_mount(p);

	if (r == 0)
		r = bind_name(fd, name);
	if (r == 0 && !is_mounted(table, *p->dev))
		r = -ENOTCONN;
	return r;
}

static _Noreturn void make_socket(const struct process *p, const char *name)
{
	struct binder_reply reply = {0};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int table = open_table(); /* the offset of p->table is the binder's */
	int r = fd < 0 ? -errno : leave_mounts();

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memcpy(reply.name, name, sizeof(reply.name));
	if (r == 0)
		r = bind_in_mount(p, fd, name, table);
	reply.errnum = -r;
	answer(p->orders, &reply, r == 0 ? fd : -1);
	_exit(0);
}

/* Return: false when pffs has ended. */
static bool take_order(const struct process *p)
{
	struct binder_reply reply = {0};
	char name[BINDER_NAME];
	ssize_t n = recv(p->orders, name, sizeof(name), 0);
	pid_t pid;

	if (n != sizeof(name) || name[sizeof(name) - 1] || strchr(name, '/'))
		return n > 0 || (n < 0 && errno == EINTR);
	pid = p->mountpoint ? fork() : -1;
	if (pid == 0)
		make_socket(p, name);
	if (pid > 0)
		return true;
	memcpy(reply.name, name, sizeof(name));
	reply.errnum = p->mountpoint ? errno : ENOTSUP;
	return answer(p->orders, &reply, -1) == 0;
}

static int listen_at(const struct sockaddr_storage *address)
{
	const int on = 1;
	cleanup_close int fd = -1;
	socklen_t len = address->ss_family == AF_INET ? sizeof(struct sockaddr_in)
						      : sizeof(struct sockaddr_in6);

	if (!binder_is_loopback(address))
		return -EPERM;
	fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)address, len) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* Return: false when pffs has ended. */
static bool take_call(const struct process *p)
{
	struct binder_reply reply = {0};
	struct sockaddr_storage address;
	ssize_t n = recv(p->calls, &address, sizeof(address), 0);
	cleanup_close int fd = -1;

	if (n != sizeof(address))
		return n > 0 || (n < 0 && errno == EINTR);
	fd = listen_at(&address);
	reply.errnum = fd < 0 ? -fd : 0;
	return answer(p->calls, &reply, fd) == 0;
}

static void look_at_mounts(const struct process *p)
{
	const struct binder_reply gone = {0};

	if (!*p->dev || is_mounted(p->table, *p->dev))
		return;
	*p->dev = 0;
	answer(p->orders, &gone, -1);
}

static void prepare(struct process *p)
{
	prctl(PR_SET_NAME, "pffs-binder");
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	p->dev = mmap(NULL, sizeof(*p->dev), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->dev == MAP_FAILED)
		_exit(1);
	p->table = open_table();
}

void binder_process(const char *mountpoint, int orders, int calls)
{
	struct process p = {.mountpoint = mountpoint, .orders = orders, .calls = calls};
	bool goes_on = true;

	prepare(&p);
	while (goes_on) {
		struct pollfd fds[] = {{.fd = p.orders, .events = POLLIN},
				       {.fd = p.calls, .events = POLLIN},
				       {.fd = p.table, .events = POLLPRI}};

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[2].revents)
			look_at_mounts(&p);
		if (fds[0].revents)
			goes_on = take_order(&p);
		if (fds[1].revents)
			goes_on = take_call(&p) && goes_on;
	}
	_exit(0);
}
