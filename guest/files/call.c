#include "guest/files/call.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum takes {
	TAKES_PATH = 1,	  /* path is one */
	TAKES_PATH2 = 2,  /* path2 is one, too */
	TAKES_FILE = 4,	  /* call->fd is what path names */
	TAKES_HANDLE = 8, /* call->fd is that of handle; instead of path, if it may be */
	TAKES_HANDLE2 = 16,
	WRITES = 32, /* it changes files */
	TAKES_EITHER = TAKES_PATH | TAKES_FILE | TAKES_HANDLE,
};

static const struct {
	int (*op)(struct call *call);
	unsigned int takes;
} operations[FILES_OP_MAX + 1] = {
    [FILES_LOOKUP] = {op_lookup, TAKES_PATH},
    [FILES_GETATTR] = {op_getattr, TAKES_EITHER},
    [FILES_SETATTR] = {op_setattr, TAKES_EITHER | WRITES},
    [FILES_LIST] = {op_list, TAKES_PATH | TAKES_HANDLE},
    [FILES_READLINK] = {op_readlink, TAKES_PATH | TAKES_FILE},
    [FILES_OPEN] = {op_open, TAKES_PATH},
    [FILES_CLOSE] = {op_close, TAKES_HANDLE},
    [FILES_READ] = {op_read, TAKES_HANDLE},
    [FILES_WRITE] = {op_write, TAKES_HANDLE | WRITES},
    [FILES_FSYNC] = {op_fsync, TAKES_EITHER},
    [FILES_FALLOCATE] = {op_fallocate, TAKES_HANDLE | WRITES},
    [FILES_SEEK] = {op_seek, TAKES_HANDLE},
    [FILES_COPY] = {op_copy, TAKES_HANDLE | TAKES_HANDLE2 | WRITES},
    [FILES_MKDIR] = {op_mkdir, TAKES_PATH | WRITES},
    [FILES_MKNOD] = {op_mknod, TAKES_PATH | WRITES},
    [FILES_SYMLINK] = {op_symlink, TAKES_PATH | WRITES},
    [FILES_LINK] = {op_link, TAKES_PATH | TAKES_FILE | TAKES_PATH2 | WRITES},
    [FILES_UNLINK] = {op_unlink, TAKES_PATH | WRITES},
    [FILES_RMDIR] = {op_rmdir, TAKES_PATH | WRITES},
    [FILES_RENAME] = {op_rename, TAKES_PATH | TAKES_PATH2 | WRITES},
    [FILES_STATFS] = {op_statfs, 0},
    [FILES_GETXATTR] = {op_getxattr, TAKES_PATH | TAKES_FILE},
    [FILES_SETXATTR] = {op_setxattr, TAKES_PATH | TAKES_FILE | WRITES},
    [FILES_LISTXATTR] = {op_listxattr, TAKES_PATH | TAKES_FILE},
    [FILES_TREE] = {op_tree, 0},
    [FILES_REMOVEXATTR] = {op_removexattr, TAKES_PATH | TAKES_FILE | WRITES},
    [FILES_GETLK] = {op_getlk, TAKES_HANDLE},
    [FILES_SETLK] = {op_setlk, TAKES_HANDLE},
    [FILES_FLOCK] = {op_flock, TAKES_HANDLE},
};

static int take_handle(struct call *call)
{
	call->handle = handle_get(call->server, call->req.handle);
	if (!call->handle)
		return -EBADF;
	call->fd = call->handle->fd;
	return 0;
}

static int take_file(struct call *call)
{
	call->fd = walk(call->server, call->req.path, O_PATH);
	call->path_fd = call->fd >= 0;
	return call->fd < 0 ? call->fd : 0;
}

/* Look up what the operation works with. */
static int take(struct call *call, unsigned int takes)
{
	int r = 0;

	if ((takes & TAKES_PATH && !files_path_ok(call->req.path)) ||
	    (takes & TAKES_PATH2 && !files_path_ok(call->req.path2)))
		return -EINVAL;
	if (takes & TAKES_HANDLE && (call->req.handle || !(takes & TAKES_PATH)))
		r = take_handle(call);
	else if (takes & TAKES_FILE)
		r = take_file(call);
	if (r < 0 || !(takes & TAKES_HANDLE2))
		return r;
	call->handle2 = handle_get(call->server, call->req.handle2);
	return call->handle2 ? 0 : -EBADF;
}

static void give_back(struct call *call)
{
	handle_put(call->server, call->handle);
	handle_put(call->server, call->handle2);
	if (call->path_fd)
		close(call->fd);
	call->handle = call->handle2 = NULL;
	call->path_fd = false;
	call->fd = -1;
}

/* Count what may write at its beginning and at its end, so that who saw the same count
 * before and after has missed nothing. */
static int operate(struct call *call, unsigned int takes)
{
	bool writes = takes & WRITES || (call->req.op == FILES_OPEN &&
					 call->req.flags & (FILES_O_CREAT | FILES_O_TRUNC));
	int r;

	if (writes)
		atomic_fetch_add(&call->server->changes.writes, 1);
	r = operations[call->req.op].op(call);
	if (writes)
		atomic_fetch_add(&call->server->changes.writes, 1);
	return r;
}

int call_serve(struct call *call)
{
	unsigned int takes = operations[call->req.op].takes;
	int r;

	call->reply = (struct files_reply){.watch = -1, .data = call->data};
	if (!operations[call->req.op].op)
		r = -EOPNOTSUPP;
	else
		r = take(call, takes);
	if (r == 0)
		r = operate(call, takes);
	give_back(call);
	if (r < 0) {
		call->reply.error = -r;
		call->reply.has_attr = false;
		call->reply.data_len = 0;
	}
	return r;
}
