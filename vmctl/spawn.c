#include "vmctl/spawn.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child's standard descriptors, its others, and one for the report. */
#define REPORT_FD (SPAWN_FIRST_FD + SPAWN_FDS_MAX)

static void reset_signals(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Move a descriptor out of the way of all the numbers that will be taken. */
static int raise_fd(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, REPORT_FD + 1);
}

/* Put every descriptor into its place and close all others. */
static int arrange_fds(const struct spawn_options *options, int report)
{
	int null = raise_fd(open("/dev/null", O_RDONLY)), high[SPAWN_FDS_MAX];
	int output = raise_fd(options->output ? options->output : 2);

	report = raise_fd(report);
	for (int i = 0; i < options->count; i++)
		high[i] = raise_fd(options->fds[i]);
	for (int i = 0; i < options->count; i++)
		if (dup2(high[i], SPAWN_FIRST_FD + i) < 0)
			return -1;
	if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		return -1;
	if (dup3(report, REPORT_FD, O_CLOEXEC) < 0)
		return -1;
	if (options->count < SPAWN_FDS_MAX &&
	    close_range((unsigned int)(SPAWN_FIRST_FD + options->count), REPORT_FD - 1, 0) <
		0)
		return -1;
	return close_range(REPORT_FD + 1, ~0u, 0);
}

__attribute__((noreturn)) static void child(const char *path, const char *const argv[],
					    const struct spawn_options *options, int report)
{
	int errnum;

	setsid();
	reset_signals();
	if (options->with_parent)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (arrange_fds(options, report) == 0) {
		report = REPORT_FD;
		execvp(path, (char *const *)argv);
	}
	errnum = errno;
	if (write(report, &errnum, sizeof(errnum)) < 0)
		_exit(126);
	_exit(127);
}

pid_t spawn(const char *path, const char *const argv[], const struct spawn_options *options,
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
		child(path, argv, options, tell);
	close(steal_fd(&tell));
	if (read(told, &errnum, sizeof(errnum)) != sizeof(errnum))
		return pid;
	waitpid(pid, NULL, 0);
	return error_set(err, errnum, "cannot execute %s", path);
}
