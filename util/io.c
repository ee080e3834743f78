#include "util/io.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define LOCK_TRIES    200 /* a machine that stands still makes one take longer */
#define LOCK_PAUSE_NS 10000000

static int write_all(int fd, const void *data, size_t len, bool wait)
{
	struct pollfd out = {.fd = fd, .events = POLLOUT};
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && wait && errno == EAGAIN &&
		    (poll(&out, 1, -1) >= 0 || errno == EINTR))
			continue;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_write_all(int fd, const void *data, size_t len)
{
	return write_all(fd, data, len, false);
}

int io_write_all_wait(int fd, const void *data, size_t len)
{
	return write_all(fd, data, len, true);
}

int io_pwrite_all(int fd, const void *data, size_t len, uint64_t offset)
{
	const char *p = data;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int io_pread_all(int fd, void *data, size_t len, uint64_t offset)
{
	char *p = data;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

char *io_read_file(const char *path, size_t max, size_t *len, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *data = NULL;
	size_t used = 0, room = 0;

	if (fd < 0) {
		error_set(err, errno, "cannot open %s", path);
		return NULL;
	}
	for (;;) {
		ssize_t n;

		if (room - used < 2) {
			char *grown;

			room = room ? room * 2 : 4096;
			grown = realloc(data, room);
			if (!grown) {
				error_set(err, ENOMEM, "cannot read %s", path);
				return NULL;
			}
			data = grown;
		}
		n = read(fd, data + used, room - used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			error_set(err, errno, "cannot read %s", path);
			return NULL;
		}
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max) {
			error_set(err, EFBIG, "%s is larger than %zu bytes", path, max);
			return NULL;
		}
	}
	data[used] = '\0';
	*len = used;
	return steal_pointer(&data);
}

int io_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

static int unix_address(const char *path, struct sockaddr_un *addr, struct error *err)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(addr->sun_path))
		return error_say(err, ENAMETOOLONG,
				 "the socket path %s is longer than %zu bytes", path,
				 sizeof(addr->sun_path) - 1);
	memcpy(addr->sun_path, path, strlen(path));
	return 0;
}

int io_connect_unix(const char *path, struct error *err)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	int r = unix_address(path, &addr, err);

	if (r < 0)
		return r;
	if (fd < 0)
		return error_set(err, errno, "cannot make a socket");
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return error_set(err, errno, "cannot connect to %s", path);
	return steal_fd(&fd);
}

/* Whether @path is free for a new socket, or a dead server's. */
static int check_free(const char *path, struct error *err)
{
	cleanup_close int fd = io_connect_unix(path, err);
	struct stat st;

	if (fd >= 0)
		return error_say(err, EADDRINUSE, "%s is in use by a running server", path);
	if (fd == -ENOENT)
		return 0;
	if (fd == -ECONNREFUSED && lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return error_say(err, EEXIST, "%s exists and is no socket", path);
	return fd == -ECONNREFUSED ? 0 : fd;
}

/* Bind @fd to a new socket at @path, mode 0600, and listen. */
static int bind_unix(int fd, const char *path, struct error *err)
{
	struct sockaddr_un addr;
	mode_t mask;
	int r = unix_address(path, &addr, err);

	if (r < 0)
		return r;
	unlink(path);
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return error_set(err, -r, "cannot bind %s", path);
	if (listen(fd, 64) < 0)
		return error_set(err, errno, "cannot listen on %s", path);
	return 0;
}

/*
 * The socket gets its name when it listens already: whoever waits for the name
 * can connect at once.
 */
int io_listen_unix(const char *path, struct error *err)
{
	char fresh[sizeof(((struct sockaddr_un *)0)->sun_path) + 16];
	cleanup_close int fd = -1;
	int r = check_free(path, err);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, errno, "cannot make a socket");
	snprintf(fresh, sizeof(fresh), "%s.%d", path, (int)getpid());
	r = bind_unix(fd, fresh, err);
	if (r < 0)
		return r;
	if (rename(fresh, path) < 0) {
		r = error_set(err, errno, "cannot make the socket %s", path);
		unlink(fresh);
		return r;
	}
	return steal_fd(&fd);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t io_monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t io_realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int io_lock(int fd)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
	unsigned tries = LOCK_TRIES;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = -errno;

		if (r != -EWOULDBLOCK || !tries--)
			return r;
		nanosleep(&pause, NULL);
	}
	return 0;
}

void io_close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* Of those kept, the first from @from on, or -1. */
static int first_from(const int *keep, size_t count, int from)
{
	int first = -1;

	for (size_t i = 0; i < count; i++)
		if (keep[i] >= from && (first < 0 || keep[i] < first))
			first = keep[i];
	return first;
}

int io_close_but(const int *keep, size_t count)
{
	int from = STDERR_FILENO + 1;

	for (int fd; (fd = first_from(keep, count, from)) >= 0; from = fd + 1)
		if (fd > from && close_range((unsigned)from, (unsigned)fd - 1, 0) < 0)
			return -errno;
	return close_range((unsigned)from, ~0u, 0) < 0 ? -errno : 0;
}

void io_add_fds(struct msghdr *msg, void *room, const int *fds, size_t count)
{
	size_t size = count * sizeof(*fds);
	struct cmsghdr *cmsg;

	msg->msg_control = room;
	msg->msg_controllen = CMSG_SPACE(size);
	cmsg = CMSG_FIRSTHDR(msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(cmsg), fds, size);
}

size_t io_take_fds(struct msghdr *msg, int *fds, size_t most)
{
	const struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	size_t count;
	int fd;

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return 0;
	count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(fd);
	if (count <= most) {
		memcpy(fds, CMSG_DATA(cmsg), count * sizeof(fd));
		return count;
	}
	for (size_t i = 0; i < count; i++) {
		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
		close(fd);
	}
	return 0;
}

int io_random_name(char *name, size_t room, const char *prefix)
{
	uint64_t number[2];

	if (getrandom(number, sizeof(number), 0) != sizeof(number))
		return -errno;
	snprintf(name, room, "%s%016llx%016llx", prefix, (unsigned long long)number[0],
		 (unsigned long long)number[1]);
	return 0;
}

void io_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int io_send_fd(int socket, const void *data, size_t len, int fd, int flags)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0)
		io_add_fds(&msg, room, &fd, 1);
	return sendmsg(socket, &msg, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t io_receive_fd(int socket, void *data, size_t room, int *fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {.iov_base = data, .iov_len = room};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n;

	/* Who has a limit gets this when his process was stopped and goes on: signal(7). */
	do
		n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*fd = -1;
	if (n < 0)
		return -errno;
	io_take_fds(&msg, fd, 1);
	return n;
}
