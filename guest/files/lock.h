/*
 * Locks of the host's programs, which those of the guest's programs meet.
 */
#pragma once

#include "guest/files/call.h"

#include <fcntl.h>

/* The descriptor that holds one owner's POSIX locks on one file. */
struct lock_holder {
	struct link link; /* on server->holders */
	uint64_t dev, ino, owner;
	uint16_t epoch;
	bool writable;
	bool unlocked; /* it may have no locks any more */
	int users, fd;
};

struct lock_request {
	struct handle *handle;	    /* of flock(2) */
	struct lock_holder *holder; /* of a POSIX lock */
	int flock;		    /* LOCK_* */
	struct flock posix;
};

/** lock_take() - Return: 0 or -errno; -EAGAIN when another holds it and @wait is false. */
int lock_take(const struct lock_request *lock, bool wait);

/** lock_settle() - after lock_take() has returned @r. Return: 0 or -errno. */
int lock_settle(struct server *server, const struct lock_request *lock, int r);

/** lock_undo() - give back what was taken. */
void lock_undo(const struct lock_request *lock);

/** lock_request_fini() - let go of the handle or the holder. */
void lock_request_fini(struct server *server, struct lock_request *lock);

/** locks_drop() - release all POSIX locks. */
void locks_drop(struct server *server);
