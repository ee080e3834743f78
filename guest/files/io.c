/*
 * Opening files, and their content. Only regular files and directories are opened: what
 * a name is, is looked at by O_PATH, which touches no device and waits for no one, and
 * then that very file is opened.
 */
#include "guest/files/call.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define CREATE_TRIES 100	 /* while others make and remove the same name */
#define COPY_MAX     (16u << 20) /* bytes; who wants more asks again */

static int can_open(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		return 0;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	return S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? -EPERM : -ENXIO;
}

/* Open for real what is open by O_PATH. Return: fd or -errno. */
static int reopen(int path_fd, int flags)
{
	int r = can_open(path_fd), fd;

	if (r < 0)
		return r;
	fd = open(fd_name(path_fd).text, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

static int open_flags(uint32_t flags)
{
	int mode =
	    flags & FILES_O_WRITE ? (flags & FILES_O_READ ? O_RDWR : O_WRONLY) : O_RDONLY;

	return mode | (flags & FILES_O_TRUNC ? O_TRUNC : 0);
}

static int open_old(const struct call *call)
{
	const struct place *place = &call->places[0];
	cleanup_close int path_fd = place->dir < 0
					? walk(call->server, call->req.path, O_PATH)
					: walk_from(place->dir, place->name, O_PATH);

	if (path_fd < 0)
		return path_fd;
	if (call->req.flags & FILES_O_CREAT && call->req.flags & FILES_O_EXCL)
		return -EEXIST;
	return reopen(path_fd, open_flags(call->req.flags));
}

/* Return: fd or -errno. */
static int open_or_create(const struct call *call)
{
	const struct place *place = &call->places[0];
	int fd = -EAGAIN;

	for (int i = 0; i < CREATE_TRIES; i++) {
		fd = open_old(call);
		if (fd != -ENOENT || !(call->req.flags & FILES_O_CREAT))
			break;
		fd = new_file(place->dir, place->name, &call->req);
		if (fd != -EEXIST || call->req.flags & FILES_O_EXCL)
			break;
	}
	return fd;
}

/* Return: bytes, fewer only at the end, or -errno if there are none. */
static ssize_t read_some(int fd, uint8_t *to, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, to + done, size - done, (off_t)(offset + done));

		if (n < 0 && !done)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* All of a small file. If it changes meanwhile, the attributes are older than its new
 * time, which says so to whoever keeps the bytes. */
static void read_small(struct call *call, int fd)
{
	struct files_reply *reply = &call->reply;
	uint64_t max = call->req.size < FILES_IO_MAX ? call->req.size : FILES_IO_MAX;
	uint64_t size = reply->attr.size;

	if (size > max || !S_ISREG(reply->attr.mode) ||
	    read_some(fd, call->data, size, 0) != (ssize_t)size)
		return;
	reply->data_len = (uint32_t)size;
	reply->value = 1;
}

/* As the kernel does it for who may not keep these bits: before the file is another. */
static int drop_setid(int fd)
{
	const mode_t group = S_ISGID | S_IXGRP;
	mode_t bits = S_ISUID;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & group) == group)
		bits |= S_ISGID;
	if (!(st.st_mode & bits))
		return 0;
	return fchmod(fd, st.st_mode & 07777 & ~bits) < 0 ? -errno : 0;
}

int op_open(struct call *call)
{
	uint32_t flags = call->req.flags;
	int fd = open_or_create(call), r;

	if (fd < 0)
		return fd;
	r = flags & FILES_DROP_SUID ? drop_setid(fd) : 0;
	if (r == 0)
		r = call_attr(call, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	/* overlayfs does not pass RWF_APPEND on, but it does pass on this. */
	if (flags & FILES_O_APPEND && fcntl(fd, F_SETFL, O_APPEND) < 0) {
		close(fd);
		return -EIO;
	}
	if (call->req.size && flags & FILES_O_READ &&
	    !(flags & (FILES_O_CREAT | FILES_O_TRUNC)))
		read_small(call, fd);
	return handle_add(call, fd, flags & FILES_O_WRITE);
}

/* That a file which was open for writing is closed is an event by itself. */
int op_close(struct call *call)
{
	if (call->tells)
		call_attr(call, call->fd);
	call->fd = call->file = -1;
	handle_close(call->server, call->handle);
	return 0;
}

int op_read(struct call *call)
{
	ssize_t n;

	if (call->req.size > FILES_IO_MAX)
		return -EINVAL;
	n = read_some(call->fd, call->data, call->req.size, call->req.offset);
	if (n < 0)
		return (int)n;
	call->reply.data_len = (uint32_t)n;
	return 0;
}

int op_write(struct call *call)
{
	int flags = call->req.flags & FILES_O_APPEND ? RWF_APPEND : 0;
	int r = call->req.flags & FILES_DROP_SUID ? drop_setid(call->fd) : 0;
	size_t done = 0;

	if (r < 0)
		return r;
	while (done < call->req.data_len) {
		const struct iovec iov = {(void *)(uintptr_t)(call->req.data + done),
					  call->req.data_len - done};
		ssize_t n =
		    pwritev2(call->fd, &iov, 1, (off_t)(call->req.offset + done), flags);

		if (n < 0 && !done)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	call->reply.value = done;
	return 0;
}

int op_fsync(struct call *call)
{
	cleanup_close int own = -1;
	int fd = call->fd, r;

	if (!call->handle) {
		fd = own = reopen(call->fd, O_RDONLY);
		if (fd < 0)
			return fd;
	}
	r = call->req.flags & FILES_DATA_ONLY ? fdatasync(fd) : fsync(fd);
	return r < 0 ? -errno : 0;
}

int op_fallocate(struct call *call)
{
	int r = fallocate(call->fd, (int)call->req.mode, (off_t)call->req.offset,
			  (off_t)call->req.size);

	return r < 0 ? -errno : 0;
}

/* Data are read by pread(2) alone, so the descriptor's position is nobody's. */
int op_seek(struct call *call)
{
	off_t at;

	if (call->req.mode != SEEK_DATA && call->req.mode != SEEK_HOLE)
		return -EINVAL;
	at = lseek(call->fd, (off_t)call->req.offset, (int)call->req.mode);
	call->reply.value = (uint64_t)at;
	return at < 0 ? -errno : 0;
}

int op_copy(struct call *call)
{
	off_t from = (off_t)call->req.offset, to = (off_t)call->req.offset2;
	size_t size = call->req.size < COPY_MAX ? call->req.size : COPY_MAX;
	ssize_t n = copy_file_range(call->fd, &from, call->handle2->fd, &to, size, 0);

	call->reply.value = (uint64_t)n;
	return n < 0 ? -errno : 0;
}
