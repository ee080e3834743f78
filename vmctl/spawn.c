#include "vmctl/spawn.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/init.h"
#include "vmctl/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child's standard descriptors, its others, and one for the report. */
#define REPORT_FD (SPAWN_FIRST_FD + SPAWN_FDS_MAX)

/* What a child tells: who it is, or what went wrong. */
struct report {
	pid_t pid;
	int errnum;
};

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

/* Put every descriptor into its place and close all others but @program, if that is any. */
static int arrange_fds(const struct spawn_options *options, int report, int program)
{
	int null = raise_fd(open("/dev/null", O_RDONLY)), high[SPAWN_FDS_MAX];
	int output = raise_fd(options->output ? options->output : 2);
	int keep[SPAWN_FDS_MAX + 2] = {REPORT_FD, program};
	size_t kept = 2;

	report = raise_fd(report);
	for (int i = 0; i < options->count; i++)
		high[i] = raise_fd(options->fds[i]);
	for (int i = 0; i < options->count; i++)
		if ((keep[kept++] = dup2(high[i], SPAWN_FIRST_FD + i)) < 0)
			return -1;
	if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		return -1;
	if (dup3(report, REPORT_FD, O_CLOEXEC) < 0)
		return -1;
	return io_close_but(keep, kept);
}

static bool tell(int fd, pid_t pid, int errnum)
{
	const struct report report = {.pid = pid, .errnum = errnum};

	return write(fd, &report, sizeof(report)) == sizeof(report);
}

__attribute__((noreturn)) static void run(const char *path, const char *const argv[],
					  const struct spawn_options *options, int report)
{
	int program = options->program ? raise_fd(options->program) : -1;

	setsid();
	reset_signals();
	if (options->with_parent)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (arrange_fds(options, report, program) == 0) {
		report = REPORT_FD;
		if (program >= 0)
			fexecve(program, (char *const *)argv, environ);
		else
			execvp(path, (char *const *)argv);
	}
	_exit(tell(report, 0, errno) ? 127 : 126);
}

/* Namespaces of users give the others to who has no privileges. */
static int unshare_pids(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (uid == 0)
		return unshare(CLONE_NEWPID);
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
		return -1;
	return jail_map_self(uid, gid, false) < 0 ? -1 : 0;
}

/* As fork(2), for a process that does nothing but run(). Its parent is the helper's. */
static pid_t fork_sibling(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
}

static int start_init(const struct spawn_options *options, int report)
{
	const struct spawn_options init = {.fds = &options->alive, .count = 1};
	const char *argv[] = {"vmctl", "init", NULL, NULL};
	char user[16];
	pid_t pid;

	snprintf(user, sizeof(user), "%u", options->family);
	argv[2] = user;
	pid = fork_sibling();
	if (pid == 0)
		run("/proc/self/exe", argv, &init, report);
	return pid < 0 ? -1 : 0;
}

/* A helper's work. */
__attribute__((noreturn)) static void run_family(const char *path, const char *const argv[],
						 const struct spawn_options *options,
						 int report)
{
	pid_t pid;

	if (unshare_pids() < 0)
		run(path, argv, options, report);
	if (start_init(options, report) < 0)
		_exit(tell(report, 0, errno) ? 127 : 126);
	pid = fork_sibling();
	if (pid == 0)
		run(path, argv, options, report);
	_exit(tell(report, pid, pid < 0 ? errno : 0) ? 0 : 126);
}

/* What the children tell until they are executed. Return: 0 or an errno. */
static int listen_to(int fd, pid_t *pid)
{
	struct report report;
	int errnum = 0;

	while (read(fd, &report, sizeof(report)) == sizeof(report)) {
		if (report.pid > 0)
			*pid = report.pid;
		if (report.errnum)
			errnum = report.errnum;
	}
	return errnum;
}

pid_t spawn(const char *path, const char *const argv[], const struct spawn_options *options,
	    struct error *err)
{
	cleanup_close int told = -1, ours = -1;
	int pair[2], errnum;
	pid_t child, pid;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot start %s", path);
	told = pair[0];
	ours = pair[1];
	child = fork();
	if (child < 0)
		return error_set(err, errno, "cannot start %s", path);
	if (child == 0 && options->family)
		run_family(path, argv, options, ours);
	if (child == 0)
		run(path, argv, options, ours);
	close(steal_fd(&ours));
	pid = child;
	errnum = listen_to(told, &pid);
	if (errnum || pid != child)
		waitpid(child, NULL, 0);
	if (errnum && pid != child)
		waitpid(pid, NULL, 0);
	return errnum ? error_set(err, errnum, "cannot execute %s", path) : pid;
}
