/* Locks through the guest's file server meet those of other processes. */
#include "tests/unit/files_kit.h"

#include <dirent.h>
#include <sys/file.h>

#define MOMENT_MSECS 200

static uint32_t open_handle(const char *name, uint32_t flags)
{
	return ASK(.op = FILES_OPEN, .path = name, .flags = flags).handle;
}

#define RW (FILES_O_READ | FILES_O_WRITE)

/* A process of the guest's that locks the file "f" and waits for its end. */
struct other {
	pid_t pid;
	int done; /* closing it ends the process */
};

static struct other other_locks(bool flocks, short type, off_t start, off_t len)
{
	struct other other;
	int ready[2], done[2];
	char c;

	if (pipe(ready) < 0 || pipe(done) < 0)
		abort();
	other.pid = fork();
	if (other.pid == 0) {
		struct flock range = {
		    .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
		int fd = openat(kit.dir_fd, "f", O_RDWR);

		close(done[1]);
		close(ready[0]);
		if (flocks ? flock(fd, LOCK_EX) : fcntl(fd, F_SETLK, &range))
			_exit(1);
		close(ready[1]);
		_exit(read(done[0], &c, 1) != 0);
	}
	close(ready[1]);
	close(done[0]);
	if (read(ready[0], &c, 1) != 0)
		abort();
	close(ready[0]);
	other.done = done[1];
	return other;
}

static void other_ends(struct other other)
{
	int status;

	close(other.done);
	waitpid(other.pid, &status, 0);
}

/* Return: what a program of the guest's gets that locks "f" without waiting. */
static int try_lock(bool flocks, short type, off_t start, off_t len)
{
	struct flock range = {
	    .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	cleanup_close int fd = openat(kit.dir_fd, "f", O_RDWR | O_CLOEXEC);

	if (flocks)
		return flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
	return fcntl(fd, F_SETLK, &range) < 0 ? errno : 0;
}

static int setlk(uint32_t h, uint64_t owner, uint32_t mode, uint64_t at, uint64_t len)
{
	return ASK(.op = FILES_SETLK, .handle = h, .owner = owner, .mode = mode,
		   .offset = at, .size = len)
	    .error;
}

static void posix_locks(void)
{
	uint32_t h = open_handle("f", RW), h2 = open_handle("f", RW);
	uint32_t ro = open_handle("f", FILES_O_READ);
	struct other other = other_locks(false, F_WRLCK, 10, 10);
	struct files_reply r;

	is_int(setlk(h, 1, F_WRLCK, 15, 1), EAGAIN, "a program's lock is in the way");
	is_int(setlk(h, 1, F_WRLCK, 0, 10), 0, "beside it there is room");
	r = ASK(.op = FILES_GETLK, .handle = h, .owner = 1, .mode = F_RDLCK, .offset = 19,
		.size = 5);
	ok(r.error == 0 && r.value == F_WRLCK, "getlk says what is in the way");
	r = ASK(.op = FILES_GETLK, .handle = h, .owner = 1, .mode = F_WRLCK, .offset = 0,
		.size = 10);
	ok(r.error == 0 && r.value == F_UNLCK, "an owner's own lock is not");
	r = ASK(.op = FILES_GETLK, .handle = h2, .owner = 2, .mode = F_RDLCK);
	ok(r.error == 0 && r.value == F_WRLCK, "to another owner it is");
	other_ends(other);
	is_int(setlk(h, 1, F_WRLCK, 10, 10), 0, "when the program has ended it is free");
	is_int(try_lock(false, F_RDLCK, 12, 1), EAGAIN, "a program meets our lock");
	is_int(setlk(h2, 2, F_RDLCK, 5, 1), EAGAIN, "and so does another owner");
	is_int(setlk(h2, 1, F_RDLCK, 5, 1), 0, "the same owner does not, by any handle");
	is_int(try_lock(false, F_RDLCK, 5, 1), 0, "it changed its lock to one for reading");
	is_int(setlk(ro, 3, F_WRLCK, 100, 1), EBADF, "who cannot write cannot lock for it");
	is_int(setlk(ro, 3, F_RDLCK, 100, 1), 0, "only for reading");
	is_int(setlk(h, 1, F_UNLCK, 0, 0), 0, "all of an owner's locks end");
	is_int(try_lock(false, F_WRLCK, 0, 50), 0, "nothing is left of them");
	is_int(try_lock(false, F_WRLCK, 100, 1), EAGAIN, "another owner's stay");
	is_int(setlk(ro, 3, F_UNLCK, 0, 0), 0, "they end");
	is_int(setlk(ro, 4, F_UNLCK, 0, 0), 0, "unlocking what was not locked is fine");
	is_int(setlk(h, 1, 77, 0, 0), EINVAL, "a lock of no kind");
	is_int(setlk(9999, 1, F_RDLCK, 0, 0), EBADF, "a lock on no file");
	ASK(.op = FILES_CLOSE, .handle = h);
	ASK(.op = FILES_CLOSE, .handle = h2);
	ASK(.op = FILES_CLOSE, .handle = ro);
}

/* An owner's locks are its own, by whatever handle. */
static void locks_by_two_handles(void)
{
	uint32_t h = open_handle("f", RW), ro = open_handle("f", FILES_O_READ), stream;
	struct files_reply r;
	struct other other;

	is_int(setlk(h, 1, F_WRLCK, 0, 10), 0, "a lock by a handle for writing");
	is_int(setlk(ro, 1, F_RDLCK, 0, 10), 0, "becomes one for reading by another");
	is_int(try_lock(false, F_RDLCK, 0, 10), 0, "it is");
	is_int(setlk(ro, 1, F_UNLCK, 0, 0), 0, "it is unlocked by that");
	is_int(try_lock(false, F_WRLCK, 0, 0), 0, "and nothing is left");
	setlk(ro, 1, F_RDLCK, 20, 10);
	setlk(ro, 1, F_RDLCK, 40, 0);
	is_int(setlk(h, 1, F_WRLCK, 25, 1), 0, "one for reading becomes one for writing");
	is_int(try_lock(false, F_RDLCK, 25, 1), EAGAIN, "it is");
	is_int(try_lock(false, F_RDLCK, 20, 5), 0, "the others are not");
	is_int(try_lock(false, F_WRLCK, 20, 1), EAGAIN, "but are held");
	is_int(try_lock(false, F_WRLCK, 29, 1), EAGAIN, "to their end");
	is_int(try_lock(false, F_WRLCK, 30, 10), 0, "and no further");
	is_int(try_lock(false, F_WRLCK, 1 << 20, 1), EAGAIN, "also that without an end");
	is_int(setlk(ro, 1, F_UNLCK, 0, 0), 0, "all are unlocked");
	is_int(try_lock(false, F_WRLCK, 0, 0), 0, "by either");
	other = other_locks(false, F_WRLCK, 50, 1);
	stream = post(&(struct files_request){.op = FILES_SETLK,
					      .handle = ro,
					      .owner = 1,
					      .mode = F_RDLCK,
					      .offset = 50,
					      .size = 1,
					      .flags = FILES_WAIT});
	is_int(fetch(&r, MOMENT_MSECS), 0, "a reader waits");
	is_int(setlk(h, 1, F_WRLCK, 60, 1), 0, "and locks for writing meanwhile");
	other_ends(other);
	is_int(fetch(&r, PATIENCE_MSECS), stream, "then it gets the other lock");
	is_int(r.error, 0, "too");
	is_int(try_lock(false, F_WRLCK, 50, 1), EAGAIN, "which it has");
	is_int(try_lock(false, F_RDLCK, 60, 1), EAGAIN, "with the first");
	is_int(setlk(h, 1, F_UNLCK, 0, 0), 0, "both go");
	is_int(try_lock(false, F_WRLCK, 0, 0), 0, "at once");
	ASK(.op = FILES_CLOSE, .handle = h);
	ASK(.op = FILES_CLOSE, .handle = ro);
}

static int server_fds(void)
{
	char path[32];
	int count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)kit.pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

/* Of one owner, at the same time. */
static void unlocking_leaves_nothing(void)
{
	uint32_t h = open_handle("f", RW);
	struct files_request unlock = {
	    .op = FILES_SETLK, .handle = h, .mode = F_UNLCK, .owner = 1};
	struct files_reply r;
	int before = server_fds();

	for (uint64_t i = 0; i < 300; i++) {
		unlock.owner = i;
		setlk(h, i, F_RDLCK, 0, 10);
		for (int n = 0; n < 4; n++)
			post(&unlock);
		for (int n = 0; n < 4; n++)
			fetch(&r, PATIENCE_MSECS);
	}
	is_int(server_fds(), before, "no descriptor stays when all is unlocked");
	ASK(.op = FILES_CLOSE, .handle = h);
}

static void flocks(void)
{
	uint32_t h = open_handle("f", FILES_O_READ), h2 = open_handle("f", FILES_O_READ);
	struct other other = other_locks(true, 0, 0, 0);

	is_int(ASK(.op = FILES_FLOCK, .handle = h, .mode = LOCK_SH).error, EAGAIN,
	       "a program's flock is in the way");
	other_ends(other);
	is_int(ASK(.op = FILES_FLOCK, .handle = h, .mode = LOCK_EX).error, 0, "then not");
	is_int(ASK(.op = FILES_FLOCK, .handle = h2, .mode = LOCK_SH).error, EAGAIN,
	       "another handle's is");
	is_int(try_lock(true, 0, 0, 0), EAGAIN, "a program meets our flock");
	is_int(ASK(.op = FILES_CLOSE, .handle = h).error, 0, "it ends");
	is_int(ASK(.op = FILES_FLOCK, .handle = h2, .mode = LOCK_SH).error, 0,
	       "with its handle");
	is_int(ASK(.op = FILES_FLOCK, .handle = h2, .mode = LOCK_UN).error, 0, "or so");
	is_int(try_lock(true, 0, 0, 0), 0, "nothing is left of it");
	is_int(ASK(.op = FILES_FLOCK, .handle = h2, .mode = LOCK_SH | LOCK_NB).error,
	       EINVAL, "a flock of no kind");
	ASK(.op = FILES_CLOSE, .handle = h2);
}

static uint32_t post_wait(uint32_t h, uint64_t owner)
{
	return post(&(struct files_request){.op = FILES_SETLK,
					    .handle = h,
					    .owner = owner,
					    .mode = F_WRLCK,
					    .flags = FILES_WAIT});
}

static void waits(void)
{
	uint32_t h = open_handle("f", RW);
	struct other other = other_locks(false, F_WRLCK, 0, 0);
	uint32_t streams[40], stream, mode;
	struct files_reply r;

	stream = post_wait(h, 1);
	is_int(fetch(&r, MOMENT_MSECS), 0, "a lock that is taken is waited for");
	for (int i = 0; i < 40; i++)
		streams[i] = post_wait(h, 100 + (uint64_t)i);
	is_int(ASK(.op = FILES_LOOKUP, .path = "f").error, 0,
	       "with 41 waiting, others are served");
	for (int i = 0; i < 40; i++) {
		post_cancel(streams[i]);
		is_int(fetch(&r, PATIENCE_MSECS), streams[i], "one is cancelled");
		is_int(r.error, EINTR, "and is told so");
	}
	post_cancel(streams[0]);
	post_cancel(424242);
	other_ends(other);
	is_int(fetch(&r, PATIENCE_MSECS), stream, "the last one gets its turn");
	is_int(r.error, 0, "and the lock");
	is_int(try_lock(false, F_WRLCK, 0, 0), EAGAIN, "it has it");
	setlk(h, 1, F_UNLCK, 0, 0);
	other = other_locks(true, 0, 0, 0);
	stream = post(&(struct files_request){
	    .op = FILES_FLOCK, .handle = h, .mode = LOCK_EX, .flags = FILES_WAIT});
	is_int(fetch(&r, MOMENT_MSECS), 0, "so is a flock");
	ASK(.op = FILES_CLOSE, .handle = h);
	other_ends(other);
	is_int(fetch(&r, PATIENCE_MSECS), stream, "also when its handle is closed");
	is_int(r.error, 0, "meanwhile");
	mode = ASK(.op = FILES_LOOKUP, .path = "f").attr.mode;
	ok(S_ISREG(mode), "and on it goes");
}

/* The request to cancel may come at any moment of the other's way. */
static void cancelled_at_once(void)
{
	uint32_t h = open_handle("f", RW), stream;
	struct other other = other_locks(false, F_WRLCK, 0, 0);
	int interrupted = 0;
	struct files_reply r;

	for (int i = 0; i < 300; i++) {
		stream = post_wait(h, 1);
		usleep((unsigned int)(i % 30) * 10);
		post_cancel(stream);
		interrupted += fetch(&r, PATIENCE_MSECS) == stream && r.error == EINTR;
	}
	is_int(interrupted, 300, "no request to cancel is lost");
	other_ends(other);
	is_int(try_lock(false, F_WRLCK, 0, 0), 0, "and nobody has a lock");
	ASK(.op = FILES_CLOSE, .handle = h);
}

static void an_epoch_ends_locks(void)
{
	uint32_t h = open_handle("f", RW), h2 = open_handle("f", RW), stream, late;
	struct files_reply r;

	is_int(setlk(h, 1, F_WRLCK, 0, 0), 0, "an owner has a lock");
	ASK(.op = FILES_FLOCK, .handle = h2, .mode = LOCK_EX);
	late = post_wait(h2, 2);
	is_int(fetch(&r, MOMENT_MSECS), 0, "another waits for it");
	kit.epoch++;
	stream = post(&(struct files_request){.op = FILES_LOOKUP, .path = "f"});
	is_int(fetch(&r, PATIENCE_MSECS), late, "the wait ends with the epoch");
	is_int(r.error, EINTR, "without the lock");
	is_int(fetch(&r, PATIENCE_MSECS), stream, "before the next epoch's first answer");
	is_int(try_lock(false, F_WRLCK, 0, 0), 0, "the lock has ended, too");
	is_int(try_lock(true, 0, 0, 0), 0, "and the flock");
	is_int(ASK(.op = FILES_READ, .handle = h, .size = 1).error, EBADF, "and handles");
}

int main(void)
{
	kit_begin();
	make_file("f", "0123456789");
	posix_locks();
	locks_by_two_handles();
	unlocking_leaves_nothing();
	flocks();
	waits();
	cancelled_at_once();
	an_epoch_ends_locks();
	is_int(kit_end(), 0, "the server ends with its socket");
	return done_testing();
}
