/*
 * The requests for locks. Those on the guest's files go there (guest_lock.c). Those on
 * the other files are kept here, each for a whole file: flock(2), and POSIX locks, which
 * do not see each other.
 */
#include "pffs/fs/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

/* A lock, or who waits for one. */
struct lock {
	struct link link; /* on fs->locks or fs->lockers */
	fuse_ino_t ino;
	bool posix, exclusive;
	uint64_t owner; /* the kernel's number */
	fuse_req_t req; /* of who waits */
};

static bool conflicts(const struct lock *a, const struct lock *b)
{
	return a->ino == b->ino && a->posix == b->posix && a->owner != b->owner &&
	       (a->exclusive || b->exclusive);
}

static const struct lock *find_conflict(const struct fs *fs, const struct lock *lock)
{
	const struct lock *other;

	list_for_each (other, &fs->locks, struct lock, link)
		if (conflicts(other, lock))
			return other;
	return NULL;
}

static void drop(struct fs *fs, fuse_ino_t ino, bool posix, uint64_t owner)
{
	struct lock *lock;

	list_for_each (lock, &fs->locks, struct lock, link) {
		if (lock->ino != ino || lock->posix != posix || lock->owner != owner)
			continue;
		list_del(&lock->link);
		free(lock);
	}
}

static void take(struct fs *fs, struct lock *lock)
{
	drop(fs, lock->ino, lock->posix, lock->owner);
	list_del(&lock->link);
	list_add_before(&fs->locks, &lock->link);
	fuse_reply_err(lock->req, 0);
	fs_settle(fs);
}

/* What has gone may have been all that they waited for. */
static void look_again(struct fs *fs)
{
	struct lock *lock;

	list_for_each (lock, &fs->lockers, struct lock, link)
		if (!find_conflict(fs, lock))
			take(fs, lock);
}

void fs_unlock(struct fs *fs, fuse_ino_t ino, bool posix, uint64_t owner)
{
	drop(fs, ino, posix, owner);
	look_again(fs);
}

static void interrupted(fuse_req_t req, void *data)
{
	struct lock *lock = data;
	struct fs *fs = fuse_req_userdata(req);

	list_del(&lock->link);
	free(lock);
	fuse_reply_err(req, EINTR);
	fs_settle(fs);
}

void fs_lockers_end(struct fs *fs)
{
	struct lock *lock;

	list_for_each (lock, &fs->lockers, struct lock, link)
		interrupted(lock->req, lock);
}

void fs_locks_free(struct fs *fs)
{
	struct lock *lock;

	list_for_each (lock, &fs->locks, struct lock, link) {
		list_del(&lock->link);
		free(lock);
	}
}

static void lock_file(fuse_req_t req, const struct lock *wanted, bool wait)
{
	struct fs *fs = fuse_req_userdata(req);
	bool is_free = !find_conflict(fs, wanted);
	struct lock *lock;

	/* flock(2): to convert a lock is to give it up, and then to ask for the other. */
	if (!is_free && !wanted->posix)
		fs_unlock(fs, wanted->ino, false, wanted->owner);
	if (!is_free && (!wait || fuse_req_interrupted(req))) {
		fuse_reply_err(req, wait ? EINTR : EAGAIN);
		return;
	}
	lock = malloc(sizeof(*lock));
	if (!lock) {
		fuse_reply_err(req, ENOLCK);
		return;
	}
	*lock = *wanted;
	lock->req = req;
	list_add_before(&fs->lockers, &lock->link);
	fs_owe(fs);
	if (!is_free) {
		fuse_req_interrupt_func(req, interrupted, lock);
		return;
	}
	take(fs, lock);
	look_again(fs); /* what it was before may have excluded more */
}

void fs_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	      struct flock *flock)
{
	const struct lock wanted = {.ino = ino,
				    .posix = true,
				    .exclusive = flock->l_type == F_WRLCK,
				    .owner = fi->lock_owner};
	const struct lock *other;

	if (ino_is_guest(ino)) {
		guest_getlk(req, fi, flock);
		return;
	}
	other = find_conflict(fuse_req_userdata(req), &wanted);
	flock->l_type = F_UNLCK;
	if (other)
		flock->l_type = other->exclusive ? F_WRLCK : F_RDLCK;
	fuse_reply_lock(req, flock);
}

void fs_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	      struct flock *flock, int sleep)
{
	const struct lock wanted = {.ino = ino,
				    .posix = true,
				    .exclusive = flock->l_type == F_WRLCK,
				    .owner = fi->lock_owner};

	if (ino_is_guest(ino)) {
		guest_setlk(req, fi, flock, sleep);
	} else if (flock->l_type == F_UNLCK) {
		fs_unlock(fuse_req_userdata(req), ino, true, fi->lock_owner);
		fuse_reply_err(req, 0);
	} else {
		lock_file(req, &wanted, sleep);
	}
}

void fs_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	const struct lock wanted = {
	    .ino = ino, .exclusive = op & LOCK_EX, .owner = fi->lock_owner};

	if (ino_is_guest(ino)) {
		guest_flock(req, fi, op);
	} else if (op & LOCK_UN) {
		fs_unlock(fuse_req_userdata(req), ino, false, fi->lock_owner);
		fuse_reply_err(req, 0);
	} else {
		lock_file(req, &wanted, !(op & LOCK_NB));
	}
}
