/*
 * Theory of operation
 *
 * A POSIX lock is its process's, and all processes of the host are one here. So each
 * owner has, for each file that it locks, an open file of its own, and the kernel's open
 * file description locks on it: these conflict with one another and with the POSIX locks
 * of the guest's programs. It is closed when the owner unlocks the whole file. A lock
 * for writing needs a file that is open for writing, which would copy a file of the
 * image; so it is open for reading alone until its owner locks by a handle for writing.
 * Then another one takes its place and its locks, of which the kernel has the list.
 *
 * flock(2) is on the handle's own open file, as it is the open file's on the host.
 */
#include "guest/files/lock.h"

#include "guest/files/wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a line of /proc/PID/fdinfo, say "lock: 1: OFDLCK ADVISORY WRITE -1 08:01:7 0 EOF". */
static bool parse_lock(const char *line, struct flock *lock)
{
	char type[8], end[24];
	long long start;

	if (sscanf(line, "lock: %*d: %*s %*s %7s %*d %*s %lld %23s", type, &start, end) !=
	    3)
		return false;
	*lock = (struct flock){
	    .l_type = strcmp(type, "READ") == 0 ? F_RDLCK : F_WRLCK,
	    .l_whence = SEEK_SET,
	    .l_start = start,
	    .l_len = strcmp(end, "EOF") == 0 ? 0 : strtoll(end, NULL, 10) - start + 1,
	};
	return true;
}

/* Take what @fd holds for @to as well. Return: how many locks there are, or -errno. */
static int copy_locks(int fd, int to)
{
	char path[32], line[128];
	struct flock lock;
	int count = 0;
	FILE *info;

	snprintf(path, sizeof(path), "../fdinfo/%d", fd);
	info = fopen(path, "re");
	if (!info)
		return -errno;
	while (count >= 0 && fgets(line, sizeof(line), info)) {
		if (!parse_lock(line, &lock))
			continue;
		count++;
		if (to >= 0 && fcntl(to, F_OFD_SETLK, &lock) < 0)
			count = -errno;
	}
	fclose(info);
	return count;
}

/* From here to lock_settle() the server's lock is held. One that has no locks any more
 * goes when no request works with it. */
static void holder_put(struct lock_holder *holder)
{
	holder->users--;
	if (holder->users == 1 && holder->unlocked) {
		holder->unlocked = false;
		if (copy_locks(holder->fd, -1) == 0)
			holder->users--;
	}
	if (holder->users > 0)
		return;
	list_del(&holder->link);
	close(holder->fd);
	free(holder);
}

/* It goes when no request waits by it any more. */
static void holder_retire(struct lock_holder *holder)
{
	holder->unlocked = false;
	list_del(&holder->link);
	holder_put(holder);
}

static struct lock_holder *holder_find(struct server *server, uint64_t dev, uint64_t ino,
				       uint64_t owner)
{
	struct lock_holder *holder;

	list_for_each (holder, &server->holders, struct lock_holder, link)
		if (holder->ino == ino && holder->dev == dev && holder->owner == owner)
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
	    .epoch = call->epoch,
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

/* A writer comes to what only readers had locked: its holder takes these locks over.
 * Return: it, or NULL. */
static struct lock_holder *holder_replace(const struct call *call, const struct stat *st,
					  struct lock_holder *old)
{
	struct lock_holder *holder = holder_new(call, st);
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (!holder)
		return NULL;
	if (copy_locks(old->fd, holder->fd) < 0) {
		holder_retire(holder);
		return NULL;
	}
	fcntl(old->fd, F_OFD_SETLK, &all);
	holder_retire(old);
	return holder;
}

/* Return: the owner's holder, or NULL: none, or not @make. */
static struct lock_holder *holder_of(struct call *call, const struct stat *st, bool make)
{
	struct lock_holder *holder =
	    holder_find(call->server, st->st_dev, st->st_ino, call->req.owner);

	if (!make)
		return holder;
	if (!holder)
		return holder_new(call, st);
	if (call->handle->writable && !holder->writable)
		return holder_replace(call, st, holder);
	return holder;
}

static bool is_all(const struct flock *lock)
{
	return lock->l_type == F_UNLCK && !lock->l_start && !lock->l_len;
}

/* It was replaced while the request was on its way: the lock belongs to the one that has
 * its place now. If there is none, this one has it again. */
static int settle(struct server *server, const struct lock_request *lock)
{
	struct lock_holder *old = lock->holder;
	struct lock_holder *now = holder_find(server, old->dev, old->ino, old->owner);
	int r = 0;

	if (now == old || old->epoch != server->epoch)
		return 0;
	if (now && fcntl(now->fd, F_OFD_SETLK, &lock->posix) < 0)
		r = -errno;
	if (now) {
		lock_undo(lock);
	} else if (lock->posix.l_type != F_UNLCK) {
		old->users++;
		list_add_before(&server->holders, &old->link);
	}
	return r;
}

int lock_settle(struct server *server, const struct lock_request *lock, int r)
{
	if (!lock->holder)
		return r;
	pthread_mutex_lock(&server->lock);
	if (r == 0)
		r = settle(server, lock);
	if (r < 0 || is_all(&lock->posix))
		lock->holder->unlocked = !list_empty(&lock->holder->link);
	pthread_mutex_unlock(&server->lock);
	return r;
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
		holder = holder_of(call, &st, make);
	if (holder)
		holder->users++;
	pthread_mutex_unlock(&call->server->lock);
	return holder;
}

void locks_drop(struct server *server)
{
	struct lock_holder *holder;

	pthread_mutex_lock(&server->lock);
	list_for_each (holder, &server->holders, struct lock_holder, link)
		holder_retire(holder);
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
	r = lock_settle(call->server, lock, r);
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
	r = lock_settle(call->server, &lock, lock_take(&lock, false));
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
