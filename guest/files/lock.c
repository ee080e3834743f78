/*
 * Theory of operation
 *
 * A POSIX lock is its process's, and all processes of the host are one here. So each
 * owner has, for each file that it locks, an open file of its own, and the kernel's open
 * file description locks on it: these conflict with one another and with the POSIX locks
 * of the guest's programs. It is closed when the owner unlocks the whole file. A lock
 * for writing needs a file that is open for writing, which would copy a file of the
 * image; so readers have another than writers.
 *
 * flock(2) is on the handle's own open file, as it is the open file's on the host.
 */
#include "guest/files/lock.h"

#include "guest/files/wait.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The server's lock is held for the first two. */
static void holder_put(struct lock_holder *holder)
{
	if (--holder->users > 0)
		return;
	list_del(&holder->link);
	close(holder->fd);
	free(holder);
}

static struct lock_holder *holder_find(const struct call *call, const struct stat *st)
{
	struct lock_holder *holder;

	list_for_each (holder, &call->server->holders, struct lock_holder, link)
		if (holder->ino == st->st_ino && holder->dev == st->st_dev &&
		    holder->owner == call->req.owner &&
		    holder->writable == call->handle->writable)
			return holder;
	return NULL;
}

static struct lock_holder *holder_new(const struct call *call, const struct stat *st)
{
	struct lock_holder *holder = malloc(sizeof(*holder));
	int mode = call->handle->writable ? O_RDWR : O_RDONLY;

	if (!holder)
		return NULL;
	*holder = (struct lock_holder){
	    .dev = st->st_dev,
	    .ino = st->st_ino,
	    .owner = call->req.owner,
	    .writable = call->handle->writable,
	    .users = 1, /* its place on the list */
	    .fd = open(fd_name(call->fd).text, mode | O_CLOEXEC),
	};
	if (holder->fd < 0) {
		free(holder);
		return NULL;
	}
	list_add_before(&call->server->holders, &holder->link);
	return holder;
}

/* Return: the call's holder, for lock_request_fini(), or NULL: none, or not @make. */
static struct lock_holder *holder_get(struct call *call, bool make)
{
	struct lock_holder *holder = NULL;
	struct stat st;

	if (fstat(call->fd, &st) < 0)
		return NULL;
	pthread_mutex_lock(&call->server->lock);
	if (call->epoch == call->server->epoch)
		holder = holder_find(call, &st);
	if (!holder && make && call->epoch == call->server->epoch)
		holder = holder_new(call, &st);
	if (holder)
		holder->users++;
	pthread_mutex_unlock(&call->server->lock);
	return holder;
}

/* The holder has no locks any more, unless another request of its owner waits for one. */
static void holder_forget(struct server *server, struct lock_holder *holder)
{
	pthread_mutex_lock(&server->lock);
	if (!list_empty(&holder->link) && holder->users == 2) {
		list_del(&holder->link);
		holder_put(holder);
	}
	pthread_mutex_unlock(&server->lock);
}

void locks_drop(struct server *server)
{
	struct lock_holder *holder;

	pthread_mutex_lock(&server->lock);
	list_for_each (holder, &server->holders, struct lock_holder, link) {
		list_del(&holder->link);
		holder_put(holder);
	}
	pthread_mutex_unlock(&server->lock);
}

void lock_request_fini(struct server *server, struct lock_request *lock)
{
	handle_put(server, lock->handle);
	if (!lock->holder)
		return;
	pthread_mutex_lock(&server->lock);
	holder_put(lock->holder);
	pthread_mutex_unlock(&server->lock);
}

int lock_take(const struct lock_request *lock, bool wait)
{
	int r;

	if (lock->handle)
		r = flock(lock->handle->fd, lock->flock | (wait ? 0 : LOCK_NB));
	else
		r = fcntl(lock->holder->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK,
			  &lock->posix);
	if (r == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

void lock_undo(const struct lock_request *lock)
{
	struct lock_request undo = *lock;

	undo.flock = LOCK_UN;
	undo.posix.l_type = F_UNLCK;
	lock_take(&undo, false);
}

/* Take the lock, perhaps later; what @lock holds is let go of. */
static int take(struct call *call, struct lock_request *lock)
{
	int r = lock_take(lock, false);

	if (r == -EAGAIN && call->req.flags & FILES_WAIT) {
		r = wait_begin(call, lock);
		if (r == 0)
			return CALL_GOES_ON;
	}
	lock_request_fini(call->server, lock);
	return r;
}

static struct flock range_of(const struct files_request *req)
{
	return (struct flock){
	    .l_type = (short)req->mode,
	    .l_whence = SEEK_SET,
	    .l_start = (off_t)req->offset,
	    .l_len = (off_t)req->size,
	};
}

static bool can_lock(const struct call *call)
{
	return call->req.mode == F_RDLCK || call->req.mode == F_WRLCK;
}

int op_getlk(struct call *call)
{
	struct lock_request lock = {.holder = holder_get(call, false)};
	struct flock range = range_of(&call->req);
	int r;

	if (!can_lock(call))
		r = -EINVAL;
	else if (fcntl(lock.holder ? lock.holder->fd : call->fd, F_OFD_GETLK, &range) < 0)
		r = -errno;
	else
		r = 0;
	call->reply.value = (uint64_t)range.l_type;
	lock_request_fini(call->server, &lock);
	return r;
}

static int unlock(struct call *call)
{
	struct lock_request lock = {
	    .holder = holder_get(call, false),
	    .posix = range_of(&call->req),
	};
	int r;

	if (!lock.holder)
		return 0;
	r = lock_take(&lock, false);
	if (!call->req.offset && !call->req.size)
		holder_forget(call->server, lock.holder);
	lock_request_fini(call->server, &lock);
	return r;
}

int op_setlk(struct call *call)
{
	struct lock_request lock = {.posix = range_of(&call->req)};

	if (call->req.mode == F_UNLCK)
		return unlock(call);
	if (!can_lock(call))
		return -EINVAL;
	if (call->req.mode == F_WRLCK && !call->handle->writable)
		return -EBADF;
	lock.holder = holder_get(call, true);
	return lock.holder ? take(call, &lock) : -ENOLCK;
}

int op_flock(struct call *call)
{
	int mode = (int)call->req.mode;
	struct lock_request lock = {.flock = mode};

	if (mode != LOCK_SH && mode != LOCK_EX && mode != LOCK_UN)
		return -EINVAL;
	lock.handle = handle_get(call->server, call->handle->id);
	return lock.handle ? take(call, &lock) : -EBADF;
}
