/* Operations on names. New files get the owner that the request names. */
#include "guest/files/call.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int op_lookup(struct call *call)
{
	const char *name;
	cleanup_close int dir = -1;
	int r;

	if (!*call->req.path)
		return call_attr(call, call->server->root);
	dir = walk_parent(call->server, call->req.path, &name);
	if (dir < 0)
		return dir;
	if (call->req.flags & FILES_WATCH)
		watch_directory(call, dir);
	r = attr_of(dir, name, &call->reply.attr);
	call->reply.has_attr = r == 0;
	return r;
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

/* The reply to what made @name in @dir. */
static int made(struct call *call, int dir, const char *name)
{
	int r = give(dir, name, &call->req);

	if (r < 0)
		unlinkat(dir, name, call->req.op == FILES_MKDIR ? AT_REMOVEDIR : 0);
	else
		r = attr_of(dir, name, &call->reply.attr);
	call->reply.has_attr = r == 0;
	return r;
}

int op_mkdir(struct call *call)
{
	const char *name;
	cleanup_close int dir = walk_parent(call->server, call->req.path, &name);

	if (dir < 0)
		return dir == -EBUSY ? -EEXIST : dir;
	if (mkdirat(dir, name, call->req.mode & 07777) < 0)
		return -errno;
	return made(call, dir, name);
}

int op_mknod(struct call *call)
{
	mode_t mode = call->req.mode;
	const char *name;
	cleanup_close int dir = walk_parent(call->server, call->req.path, &name);

	if (dir < 0)
		return dir == -EBUSY ? -EEXIST : dir;
	if (S_ISCHR(mode) || S_ISBLK(mode))
		return -EPERM;
	if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode))
		return -EINVAL;
	if (mknodat(dir, name, mode & (S_IFMT | 07777), 0) < 0)
		return -errno;
	return made(call, dir, name);
}

int op_symlink(struct call *call)
{
	const char *name;
	cleanup_close int dir = walk_parent(call->server, call->req.path, &name);

	if (dir < 0)
		return dir == -EBUSY ? -EEXIST : dir;
	if (symlinkat(call->req.path2, dir, name) < 0)
		return -errno;
	return made(call, dir, name);
}

int op_link(struct call *call)
{
	const char *name;
	cleanup_close int dir = walk_parent(call->server, call->req.path2, &name);

	if (dir < 0)
		return dir == -EBUSY ? -EEXIST : dir;
	if (linkat(AT_FDCWD, fd_name(call->fd).text, dir, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return call_attr(call, call->fd);
}

static int remove_name(struct call *call, int flags)
{
	const char *name;
	cleanup_close int dir = walk_parent(call->server, call->req.path, &name);

	if (dir < 0)
		return dir;
	return unlinkat(dir, name, flags) < 0 ? -errno : 0;
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
	const char *from, *to;
	cleanup_close int dir = walk_parent(call->server, call->req.path, &from);
	cleanup_close int dir2 =
	    dir < 0 ? -1 : walk_parent(call->server, call->req.path2, &to);
	unsigned int flags = 0;

	if (dir < 0)
		return dir;
	if (dir2 < 0)
		return dir2;
	if (call->req.flags & FILES_NOREPLACE)
		flags |= RENAME_NOREPLACE;
	if (call->req.flags & FILES_EXCHANGE)
		flags |= RENAME_EXCHANGE;
	return renameat2(dir, from, dir2, to, flags) < 0 ? -errno : 0;
}
