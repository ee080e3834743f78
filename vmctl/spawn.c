#include "vmctl/spawn.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_FD 3

static void reset_signals(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Put @fds in their places, by way of numbers that are in nobody's way. */
static int arrange_fds(const int *fds, int count, int *report)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), high[8];
	int above = FIRST_FD + count + 1;

	if (null < 0 || count > 8)
		return -1;
	*report = fcntl(*report, F_DUPFD_CLOEXEC, above);
	for (int i = 0; i < count; i++)
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, above);
	for (int i = 0; i < count; i++)
		if (high[i] < 0 || dup2(high[i], FIRST_FD + i) < 0)
			return -1;
	if (*report < 0 || dup2(null, 0) < 0 || dup2(2, 1) < 0)
		return -1;
	*report = dup3(*report, FIRST_FD + count, O_CLOEXEC);
	if (*report < 0)
		return -1;
	return close_range((unsigned int)(FIRST_FD + count + 1), ~0u, 0);
}

__attribute__((noreturn)) static void child(const char *path, const char *const argv[],
					    const int *fds, int count, int report)
{
	int errnum;

	setsid();
	reset_signals();
	if (arrange_fds(fds, count, &report) == 0)
		execvp(path, (char *const *)argv);
	errnum = errno;
	if (write(report, &errnum, sizeof(errnum)) < 0)
		_exit(126);
	_exit(127);
}

pid_t spawn(const char *path, const char *const argv[], const int *fds, int count,
	    struct error *err)
{
	cleanup_close int told = -1, tell = -1;
	int pair[2], errnum = 0;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot start %s", path);
	told = pair[0];
	tell = pair[1];
	pid = fork();
	if (pid < 0)
		return error_set(err, errno, "cannot start %s", path);
	if (pid == 0)
		child(path, argv, fds, count, tell);
	close(steal_fd(&tell));
	if (read(told, &errnum, sizeof(errnum)) != sizeof(errnum))
		return pid;
	waitpid(pid, NULL, 0);
	return error_set(err, errnum, "cannot execute %s", path);
}
