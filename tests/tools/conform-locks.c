/*
 * Locks: flock(2), POSIX's and open file descriptions', between processes, waited for,
 * and given up.
 */
#include "tests/tools/conform.h"

#include <sys/file.h>

static int fd; /* of `file` */

static int lock(int on, int command, short type, off_t from, off_t len)
{
	struct flock fl = {
	    .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len};

	return fcntl(on, command, &fl);
}

/* Return: the type of the lock in the way, F_UNLCK for none, or -1. */
static int in_the_way(int on, int command, short type, off_t from, off_t len)
{
	struct flock fl = {
	    .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len};

	return fcntl(on, command, &fl) < 0 ? -1 : fl.l_type;
}

static int open_it(void)
{
	return open("file", O_RDWR | O_CLOEXEC);
}

/* What another process gets, which opens the file itself. */
static int flock_exclusive(void)
{
	return errno_of(flock(open_it(), LOCK_EX | LOCK_NB));
}

static int flock_shared(void)
{
	return errno_of(flock(open_it(), LOCK_SH | LOCK_NB));
}

static int posix_write_start(void)
{
	return errno_of(lock(open_it(), F_SETLK, F_WRLCK, 0, 10));
}

static int posix_read_start(void)
{
	return errno_of(lock(open_it(), F_SETLK, F_RDLCK, 0, 10));
}

static int posix_write_behind(void)
{
	return errno_of(lock(open_it(), F_SETLK, F_WRLCK, 10, 10));
}

static int posix_write_far(void)
{
	return errno_of(lock(open_it(), F_SETLK, F_WRLCK, (off_t)1 << 40, 0));
}

static int posix_sees(void)
{
	return in_the_way(open_it(), F_GETLK, F_WRLCK, 0, 0);
}

static int ofd_write(void)
{
	return errno_of(lock(open_it(), F_OFD_SETLK, F_WRLCK, 0, 10));
}

static void flocks(void)
{
	int other = open_it();

	works(flock(fd, LOCK_SH), "flock: shared");
	is_int(in_child(flock_shared), 0, "another process has it, too");
	is_int(in_child(flock_exclusive), EWOULDBLOCK, "but not alone");
	works(flock(fd, LOCK_EX), "flock: the shared one becomes exclusive");
	is_int(in_child(flock_shared), EWOULDBLOCK, "nobody else has it");
	fails(EWOULDBLOCK, flock(other, LOCK_EX | LOCK_NB), "not by another open here");
	works(flock(dup(fd), LOCK_UN), "flock: given up by a dup");
	is_int(in_child(flock_exclusive), 0, "which is free then");
	works(flock(other, LOCK_EX), "flock: by the other");
	works(close(other), "close");
	is_int(in_child(flock_exclusive), 0, "gives it up");
	fails(EINVAL, flock(fd, 77), "flock: nonsense");
}

static void posix_locks(void)
{
	works(lock(fd, F_SETLK, F_WRLCK, 0, 10), "F_SETLK: ten bytes");
	is_int(in_child(posix_write_start), EAGAIN, "are not for another");
	is_int(in_child(posix_read_start), EAGAIN, "not to read, either");
	is_int(in_child(posix_write_behind), 0, "those behind are");
	is_int(in_child(posix_write_far), 0, "and those at 1 TiB");
	is_int(in_child(posix_sees), F_WRLCK, "F_GETLK: tells what is in the way");
	works(lock(fd, F_SETLK, F_RDLCK, 0, 10), "F_SETLK: for reading");
	is_int(in_child(posix_read_start), 0, "another may read");
	is_int(in_child(posix_write_start), EAGAIN, "but not write");
	works(lock(fd, F_SETLK, F_UNLCK, 0, 5), "F_SETLK: half of it given up");
	is_int(in_child(posix_write_start), EAGAIN, "the other half is kept");
	works(lock(fd, F_SETLK, F_UNLCK, 0, 0), "F_SETLK: all of it");
	is_int(in_child(posix_write_start), 0, "is free");
	lock(fd, F_SETLK, F_WRLCK, 0, 0);
	works(close(open_it()), "close: any descriptor of the file");
	is_int(in_child(posix_write_start), 0, "gives a process's locks up");
}

static void descriptions(void)
{
	int other = open_it();

	works(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10), "F_OFD_SETLK");
	fails(EAGAIN, lock(other, F_OFD_SETLK, F_RDLCK, 5, 1), "not by another open here");
	is_int(in_the_way(other, F_OFD_GETLK, F_RDLCK, 5, 1), F_WRLCK,
	       "F_OFD_GETLK: tells");
	is_int(in_child(ofd_write), EAGAIN, "nor by another process");
	is_int(in_child(posix_write_start), EAGAIN, "nor as POSIX's");
	works(close(open_it()), "close: of another descriptor");
	is_int(in_child(ofd_write), EAGAIN, "changes nothing");
	works(lock(fd, F_OFD_SETLK, F_UNLCK, 0, 0), "F_OFD_SETLK: given up");
	is_int(in_child(ofd_write), 0, "is free");
	close(other);
}

/* A child that has a lock for a moment; the parent waits for it. */
static pid_t hold(int (*take)(int file))
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0)
		return -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int file = open_it();

		if (take(file) < 0)
			_exit(errno);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		usleep(300000);
		make_file("held", "yes");
		_exit(0);
	}
	close(ready[1]);
	is_int(read(ready[0], &byte, 1), 1, "another has a lock");
	close(ready[0]);
	return pid;
}

static int take_flock(int file)
{
	return flock(file, LOCK_EX);
}

static int take_posix(int file)
{
	return lock(file, F_SETLK, F_WRLCK, 0, 0);
}

static void on_signal(int signo)
{
	(void)signo;
}

static void waiting(void)
{
	struct sigaction act = {.sa_handler = on_signal};
	pid_t pid;

	sigaction(SIGUSR1, &act, NULL);
	pid = hold(take_flock);
	works(flock(fd, LOCK_EX), "flock: waits for it");
	works(access("held", F_OK), "until it is given up");
	works(flock(fd, LOCK_UN), "and gives it up itself");
	waitpid(pid, NULL, 0);
	unlink("held");
	pid = hold(take_posix);
	works(lock(fd, F_SETLKW, F_WRLCK, 0, 0), "F_SETLKW: waits");
	works(access("held", F_OK), "until it is given up");
	works(lock(fd, F_SETLK, F_UNLCK, 0, 0), "and gives it up itself");
	waitpid(pid, NULL, 0);
}

/* Someone who waits in a process of its own, and is told to stop. */
static int wait_for_flock(int file)
{
	return errno_of(flock(file, LOCK_EX));
}

static int wait_for_posix(int file)
{
	return errno_of(lock(file, F_SETLKW, F_WRLCK, 0, 0));
}

static int open_and_wait(int ready, int (*wait_for)(int file))
{
	int file = open_it();

	return write(ready, "x", 1) == 1 ? wait_for(file) : errno;
}

static void interrupted(const char *what, int (*wait_for)(int file), int signo)
{
	int ready[2], status = 0;
	char byte;
	pid_t pid;

	must(pipe(ready));
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(open_and_wait(ready[1], wait_for));
	close(ready[1]);
	is_int(read(ready[0], &byte, 1), 1, "%s: another is about to wait", what);
	close(ready[0]);
	do { /* it may not wait yet */
		usleep(300000);
		kill(pid, signo);
	} while (waitpid(pid, &status, WNOHANG) == 0);
	if (signo == SIGKILL)
		ok(WIFSIGNALED(status), "%s: who waits can be killed", what);
	else
		is_int(WEXITSTATUS(status), EINTR, "%s: a signal ends the wait", what);
}

static void interruption(void)
{
	works(flock(fd, LOCK_EX), "flock");
	interrupted("flock", wait_for_flock, SIGUSR1);
	interrupted("flock", wait_for_flock, SIGKILL);
	works(flock(fd, LOCK_UN), "flock: given up");
	is_int(in_child(flock_exclusive), 0, "nobody who gave up waiting has it");
	works(lock(fd, F_SETLK, F_WRLCK, 0, 0), "F_SETLK");
	interrupted("F_SETLKW", wait_for_posix, SIGUSR1);
	interrupted("F_SETLKW", wait_for_posix, SIGKILL);
	works(lock(fd, F_SETLK, F_UNLCK, 0, 0), "F_SETLK: given up");
	is_int(in_child(posix_write_start), 0, "nobody who gave up waiting has it");
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	make_file("file", "some text to be locked");
	fd = open_it();
	flocks();
	posix_locks();
	descriptions();
	waiting();
	interruption();
	close(fd);
	return end();
}
