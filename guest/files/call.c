#include "guest/files/call.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

enum takes {
	TAKES_PATH = 1,	  /* path is one */
	TAKES_PATH2 = 2,  /* path2 is one, too, and places[1] what it names */
	TAKES_FILE = 4,	  /* call->fd is what path names */
	TAKES_HANDLE = 8, /* call->fd is that of handle; instead of path, if it may be */
	TAKES_HANDLE2 = 16,
	TAKES_PLACE = 32, /* places[0] is what path names */
	WRITES = 64,	  /* it changes files */
	QUIET = 128,	  /* without FILES_WATCH its answer is not to be completed */
	TAKES_EITHER = TAKES_PATH | TAKES_FILE | TAKES_HANDLE,
	MAKES = TAKES_PATH | TAKES_PLACE | WRITES,
};

/* Events of the names that the operation is about. */
#define OF_NAMES   (IN_CREATE | IN_DELETE | IN_MOVE | IN_ATTRIB)
#define OF_CONTENT (IN_MODIFY | IN_ATTRIB)

static const struct operation {
	int (*op)(struct call *call);
	int (*settle)(struct call *call);
	unsigned int takes;
	uint32_t events; /* that it may cause; 0: FILES_WATCH means something else */
} operations[FILES_OP_MAX + 1] = {
    [FILES_LOOKUP] = {op_lookup, settle_name, TAKES_PATH | TAKES_PLACE, 0},
    [FILES_GETATTR] = {op_getattr, settle_self, TAKES_EITHER, 0},
    [FILES_SETATTR] = {op_setattr, settle_file, TAKES_EITHER | WRITES, OF_CONTENT},
    [FILES_LIST] = {op_list, settle_list, TAKES_PATH | TAKES_HANDLE, 0},
    [FILES_READLINK] = {op_readlink, NULL, TAKES_PATH | TAKES_FILE, 0},
    [FILES_OPEN] = {op_open, settle_open, TAKES_PATH, OF_NAMES | IN_MODIFY},
    [FILES_CLOSE] = {op_close, settle_file, TAKES_HANDLE | QUIET, IN_CLOSE_WRITE},
    [FILES_READ] = {op_read, NULL, TAKES_HANDLE, 0},
    [FILES_WRITE] = {op_write, settle_file, TAKES_HANDLE | WRITES, OF_CONTENT},
    [FILES_FSYNC] = {op_fsync, NULL, TAKES_EITHER, 0},
    [FILES_FALLOCATE] = {op_fallocate, settle_file, TAKES_HANDLE | WRITES, OF_CONTENT},
    [FILES_SEEK] = {op_seek, NULL, TAKES_HANDLE, 0},
    [FILES_COPY] = {op_copy, settle_file, TAKES_HANDLE | TAKES_HANDLE2 | WRITES | QUIET,
		    OF_CONTENT},
    [FILES_MKDIR] = {op_mkdir, settle_name, MAKES, OF_NAMES},
    [FILES_MKNOD] = {op_mknod, settle_name, MAKES, OF_NAMES},
    [FILES_SYMLINK] = {op_symlink, settle_name, MAKES, OF_NAMES},
    [FILES_LINK] = {op_link, settle_linked, TAKES_PATH | TAKES_FILE | TAKES_PATH2 | WRITES,
		    OF_NAMES},
    [FILES_UNLINK] = {op_unlink, settle_gone, MAKES | QUIET, OF_NAMES},
    [FILES_RMDIR] = {op_rmdir, settle_gone, MAKES | QUIET, OF_NAMES},
    [FILES_RENAME] = {op_rename, settle_moved, MAKES | TAKES_PATH2 | QUIET, OF_NAMES},
    [FILES_STATFS] = {op_statfs, NULL, 0, 0},
    [FILES_GETXATTR] = {op_getxattr, NULL, TAKES_PATH | TAKES_FILE, 0},
    [FILES_SETXATTR] = {op_setxattr, settle_file, TAKES_PATH | TAKES_FILE | WRITES | QUIET,
			IN_ATTRIB},
    [FILES_LISTXATTR] = {op_listxattr, NULL, TAKES_PATH | TAKES_FILE, 0},
    [FILES_TREE] = {op_tree, NULL, 0, 0},
    [FILES_MARK] = {op_mark, NULL, 0, 0},
    [FILES_SINCE] = {op_since, NULL, 0, 0},
    [FILES_REMOVEXATTR] = {op_removexattr, settle_file,
			   TAKES_PATH | TAKES_FILE | WRITES | QUIET, IN_ATTRIB},
    [FILES_GETLK] = {op_getlk, NULL, TAKES_HANDLE, 0},
    [FILES_SETLK] = {op_setlk, NULL, TAKES_HANDLE, 0},
    [FILES_FLOCK] = {op_flock, NULL, TAKES_HANDLE, 0},
};

static bool opens_to_change(const struct call *call)
{
	return call->req.op == FILES_OPEN &&
	       call->req.flags & (FILES_O_CREAT | FILES_O_TRUNC);
}

/* Is it a change that shall not use up the watch? */
static bool tells(const struct call *call)
{
	return call->req.flags & FILES_WATCH && operations[call->req.op].events &&
	       (call->req.op != FILES_OPEN || opens_to_change(call));
}

/* The root has no place. */
static int take_place(struct call *call, struct place *place, const char *path)
{
	if (!*path)
		return 0;
	place->dir = walk_parent(call->server, path, &place->name);
	place->own = place->dir >= 0;
	return place->own ? 0 : place->dir;
}

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
	const struct place *place = &call->places[0];

	if (place->dir < 0)
		call->fd = walk(call->server, call->req.path, O_PATH);
	else
		call->fd = walk_from(place->dir, place->name, O_PATH);
	call->path_fd = call->fd >= 0;
	return call->fd < 0 ? call->fd : 0;
}

/* Who opens a file to write has its place in the handle, for changes to come. */
static bool wants_place(const struct call *call, unsigned int takes)
{
	return takes & TAKES_PLACE || call->tells ||
	       (call->req.op == FILES_OPEN &&
		call->req.flags & (FILES_O_WRITE | FILES_O_CREAT));
}

static int take_path(struct call *call, unsigned int takes)
{
	int r = wants_place(call, takes)
		    ? take_place(call, &call->places[0], call->req.path)
		    : 0;

	return r == 0 && takes & TAKES_FILE ? take_file(call) : r;
}

static void take_place_of_handle(struct call *call, unsigned int takes)
{
	const struct handle *handle = takes & TAKES_HANDLE2 ? call->handle2 : call->handle;

	if (handle && handle->folder) {
		call->places[0].dir = handle->folder->fd;
		call->places[0].name = handle->name;
	}
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
	else if (takes & TAKES_PATH)
		r = take_path(call, takes);
	if (r == 0 && takes & TAKES_PATH2)
		r = take_place(call, &call->places[1], call->req.path2);
	if (r == 0 && takes & TAKES_HANDLE2) {
		call->handle2 = handle_get(call->server, call->req.handle2);
		r = call->handle2 ? 0 : -EBADF;
	}
	call->file = call->handle2 ? call->handle2->fd : call->fd;
	if (r == 0 && call->tells)
		take_place_of_handle(call, takes);
	return r;
}

void call_begin(struct call *call)
{
	static const struct place nowhere = {.dir = -1};

	call->reply = (struct files_reply){.watch = -1, .data = call->data};
	call->tells = tells(call);
	call->places[0] = call->places[1] = nowhere;
	call->fd = call->file = -1;
}

void call_end(struct call *call)
{
	handle_put(call->server, call->handle);
	handle_put(call->server, call->handle2);
	if (call->path_fd)
		close(call->fd);
	for (struct place *p = call->places; p < call->places + PLACES; p++)
		if (p->own)
			close(p->dir);
	call->handle = call->handle2 = NULL;
	call->path_fd = false;
}

/* Count what may write at its beginning and at its end, so that who saw the same count
 * before and after has missed nothing. */
static int operate(struct call *call, const struct operation *operation)
{
	bool writes = operation->takes & WRITES || opens_to_change(call);
	int r;

	if (writes)
		atomic_fetch_add(&call->server->changes.writes, 1);
	if (call->tells)
		windows_open(call, operation->events);
	r = operation->op(call);
	if (call->tells)
		windows_close(call);
	if (writes)
		atomic_fetch_add(&call->server->changes.writes, 1);
	return r;
}

/* What has changed by half is not known any more. */
void call_fail(struct call *call, int error)
{
	struct files_reply *reply = &call->reply;

	*reply = (struct files_reply){
	    .error = error,
	    .watch = call->tells ? -1 : reply->watch,
	    .watch2 = call->tells ? -1 : 0,
	};
}

int call_serve(struct call *call)
{
	const struct operation *operation = &operations[call->req.op];
	int r = operation->op ? take(call, operation->takes) : -EOPNOTSUPP;

	if (r == 0)
		r = operate(call, operation);
	if (r < 0)
		call_fail(call, -r);
	return r;
}

void call_settle(struct call *call)
{
	const struct operation *operation = &operations[call->req.op];
	int r = 0;

	if (call->tells)
		settle_watches(call);
	if (call->reply.error)
		call_fail(call, call->reply.error);
	else if (operation->settle && (call->tells || !(operation->takes & QUIET)))
		r = operation->settle(call);
	if (r < 0)
		call_fail(call, -r);
	call->reply.links_told = call->server->shared->links_told;
}
