/* Operations on names. New files get the owner that the request names. */
#include "guest/files/call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int op_lookup(struct call *call)
{
	if (call->req.flags & FILES_WATCH && call->places[0].dir >= 0)
		call->reply.watch = watch_directory(call->server, call->places[0].dir);
	return 0;
}

int op_readlink(struct call *call)
{
	ssize_t n = readlinkat(call->fd, "", (char *)call->data, FILES_PATH_MAX);

	if (n < 0)
		return errno == ENOENT ? -EINVAL : -errno; /* it is no link */
	call->reply.data_len = (uint32_t)n;
	return 0;
}

/* In a directory with the setgid bit the group is the directory's, by the kernel. */
static int give(int dir, const char *name, const struct files_request *req)
{
	struct stat st;
	gid_t gid = req->gid;

	if (!req->uid && !gid)
		return 0;
	if (fstat(dir, &st) < 0)
		return -errno;
	if (st.st_mode & S_ISGID)
		gid = (gid_t)-1;
	return fchownat(dir, name, req->uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int new_file(int dir, const char *name, const struct files_request *req)
{
	int fd = openat(dir, name,
			O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
			req->mode & 0777);
	int r;

	if (fd < 0)
		return -errno;
	r = give(dir, name, req);
	/* A new owner has lost the setuid bits. */
	if (r == 0 && req->mode & 07000 && fchmod(fd, req->mode & 07777) < 0)
		r = -errno;
	if (r == 0)
		return fd;
	unlinkat(dir, name, 0); /* it would be root's, and in the way of who tries again */
	close(fd);
	return r;
}

/* What was made gets its owner. */
static int made(const struct call *call)
{
	const struct place *place = &call->places[0];
	int r = give(place->dir, place->name, &call->req);

	if (r < 0)
		unlinkat(place->dir, place->name,
			 call->req.op == FILES_MKDIR ? AT_REMOVEDIR : 0);
	return r;
}

/* Watch a directory that is new, so that the host need not list it if it is empty. */
static void watch_new(struct call *call)
{
	const struct place *parent = &call->places[0];
	struct place *place = &call->places[1];
	int fd = walk_from(parent->dir, parent->name, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return;
	*place = (struct place){.dir = fd, .own = true, .name = ""};
	place->watch = watch_directory(call->server, fd);
	call->reply.value = is_empty(fd);
	if (!call->reply.value)
		place->watch = 0;
}

int op_mkdir(struct call *call)
{
	const struct place *place = &call->places[0];
	int r;

	if (place->dir < 0)
		return -EEXIST;
	if (mkdirat(place->dir, place->name, call->req.mode & 07777) < 0)
		return -errno;
	r = made(call);
	if (r == 0 && call->tells)
		watch_new(call);
	return r;
}

int op_mknod(struct call *call)
{
	const struct place *place = &call->places[0];
	mode_t mode = call->req.mode;

	if (place->dir < 0)
		return -EEXIST;
	if (S_ISCHR(mode) || S_ISBLK(mode))
		return -EPERM;
	if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode))
		return -EINVAL;
	if (mknodat(place->dir, place->name, mode & (S_IFMT | 07777), 0) < 0)
		return -errno;
	return made(call);
}

int op_symlink(struct call *call)
{
	const struct place *place = &call->places[0];

	if (place->dir < 0)
		return -EEXIST;
	if (symlinkat(call->req.path2, place->dir, place->name) < 0)
		return -errno;
	return made(call);
}

int op_link(struct call *call)
{
	const struct place *place = &call->places[1];

	if (place->dir < 0)
		return -EEXIST;
	if (linkat(AT_FDCWD, fd_name(call->fd).text, place->dir, place->name,
		   AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return 0;
}

static int remove_name(const struct call *call, int flags)
{
	const struct place *place = &call->places[0];

	if (place->dir < 0)
		return -EBUSY;
	return unlinkat(place->dir, place->name, flags) < 0 ? -errno : 0;
}

int op_unlink(struct call *call)
{
	return remove_name(call, 0);
}

int op_rmdir(struct call *call)
{
	return remove_name(call, AT_REMOVEDIR);
}

int op_rename(struct call *call)
{
	const struct place *from = &call->places[0], *to = &call->places[1];
	unsigned int flags = 0;

	if (from->dir < 0 || to->dir < 0)
		return -EBUSY;
	if (call->req.flags & FILES_NOREPLACE)
		flags |= RENAME_NOREPLACE;
	if (call->req.flags & FILES_EXCHANGE)
		flags |= RENAME_EXCHANGE;
	return renameat2(from->dir, from->name, to->dir, to->name, flags) < 0 ? -errno : 0;
}
