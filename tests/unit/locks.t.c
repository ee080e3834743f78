/*
 * Locks of the files that are not the guest's, with the kernel played by the test.
 */
#include "pffs/fs/guest.h"
#include "pffs/fs/operations.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <sys/file.h>

#define FILE_INO     5
#define REQUESTS_MAX 16

struct fuse_req {
	unsigned answers;
	int error;
	fuse_interrupt_func_t interrupt;
	void *data;
};

static struct fs mounted;
static struct fuse_req requests[REQUESTS_MAX];
static unsigned made;

int fuse_reply_err(fuse_req_t req, int error)
{
	req->answers++;
	req->error = error;
	return 0;
}

int fuse_reply_lock(fuse_req_t req, const struct flock *flock)
{
	(void)flock;
	return fuse_reply_err(req, 0);
}

void *fuse_req_userdata(fuse_req_t req)
{
	(void)req;
	return &mounted;
}

int fuse_req_interrupted(fuse_req_t req)
{
	(void)req;
	return 0;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data)
{
	req->interrupt = func;
	req->data = data;
}

/* None of these is asked for a file that is not the guest's. */
void guest_getlk(fuse_req_t req, struct fuse_file_info *fi, const struct flock *flock)
{
	(void)fi;
	(void)flock;
	(void)req;
	abort();
}

void guest_setlk(fuse_req_t req, struct fuse_file_info *fi, const struct flock *flock,
		 bool wait)
{
	(void)wait;
	guest_getlk(req, fi, flock);
}

void guest_flock(fuse_req_t req, struct fuse_file_info *fi, int op)
{
	(void)op;
	guest_getlk(req, fi, NULL);
}

void fs_owe(struct fs *fs)
{
	fs->owed++;
}

void fs_settle(struct fs *fs)
{
	fs->owed--;
}

static struct fuse_req *request(void)
{
	if (made == REQUESTS_MAX)
		abort();
	return &requests[made++];
}

static struct fuse_req *flock_by(uint64_t owner, int op)
{
	struct fuse_file_info fi = {.lock_owner = owner};
	struct fuse_req *req = request();

	fs_flock(req, FILE_INO, &fi, op);
	return req;
}

static struct fuse_req *setlk_by(uint64_t owner, short type)
{
	struct fuse_file_info fi = {.lock_owner = owner};
	struct flock flock = {.l_type = type};
	struct fuse_req *req = request();

	fs_setlk(req, FILE_INO, &fi, &flock, 1);
	return req;
}

static bool has_it(const struct fuse_req *req)
{
	return req->answers == 1 && req->error == 0;
}

static void begin(void)
{
	memset(requests, 0, sizeof(requests));
	made = 0;
	mounted = (struct fs){0};
	list_init(&mounted.locks);
	list_init(&mounted.lockers);
}

static void end(void)
{
	ok(list_empty(&mounted.lockers), "nobody waits any more");
	for (unsigned i = 0; i < made; i++)
		is_int(requests[i].answers, 1, "request %u is answered once", i);
	is_int(mounted.owed, 0, "no answer is owed");
	fs_locks_free(&mounted);
}

/* Who waited for a lock that was then shared waited until it was closed. */
static void made_less(void)
{
	struct fuse_req *first, *second;

	begin();
	ok(has_it(flock_by(1, LOCK_EX)), "one has it alone");
	second = flock_by(2, LOCK_SH);
	ok(!second->answers, "another one waits");
	first = flock_by(1, LOCK_SH);
	ok(has_it(first) && has_it(second), "until the first shares it");
	ok(has_it(setlk_by(3, F_WRLCK)), "likewise with fcntl(2)");
	second = setlk_by(4, F_RDLCK);
	ok(!second->answers, "where it waits");
	ok(has_it(setlk_by(3, F_RDLCK)) && has_it(second), "and has it then");
	end();
}

/* Two who shared a lock and wanted it alone waited for each other. */
static void made_more_by_two(void)
{
	struct fuse_req *first, *second;

	begin();
	flock_by(1, LOCK_SH);
	flock_by(2, LOCK_SH);
	first = flock_by(1, LOCK_EX);
	ok(!first->answers, "who wants alone what two share waits");
	second = flock_by(2, LOCK_EX);
	ok(has_it(first) != has_it(second), "and when both want that one of them has it");
	flock_by(has_it(first) ? 1 : 2, LOCK_UN);
	ok(has_it(first) && has_it(second), "and then the other");
	end();
}

/* As on any other file system: flock(2) says that the lock may be lost. */
static void made_more_in_vain(void)
{
	struct fuse_req *req;

	begin();
	flock_by(1, LOCK_SH);
	flock_by(2, LOCK_SH);
	req = flock_by(1, LOCK_EX | LOCK_NB);
	is_int(req->error, EAGAIN, "who does not wait is refused");
	ok(has_it(flock_by(2, LOCK_EX | LOCK_NB)), "and has lost what it shared");
	end();
}

static void interrupted(void)
{
	struct fuse_req *req;

	begin();
	flock_by(1, LOCK_EX);
	req = flock_by(2, LOCK_EX);
	req->interrupt(req, req->data);
	is_int(req->error, EINTR, "who is interrupted waits no longer");
	end();
}

/* A mount that went under who waited for a lock was kept for ever. */
static void mount_gone(void)
{
	struct fuse_req *req[2];

	begin();
	flock_by(1, LOCK_EX);
	for (uint64_t i = 0; i < 2; i++)
		req[i] = flock_by(2 + i, LOCK_EX);
	fs_lockers_end(&mounted);
	ok(req[0]->error == EINTR && req[1]->error == EINTR,
	   "when the mount goes nobody waits any longer");
	end();
}

int main(void)
{
	made_less();
	made_more_by_two();
	made_more_in_vain();
	interrupted();
	mount_gone();
	return done_testing();
}
