#include "guest/agent/spawn.h"

#include "guest/agent/agent.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define CERTIFICATES	 "/etc/ssl/certs/ca-certificates.crt"
#define ENVIRONMENT_FILE "/etc/environment"
#define ENVIRONMENT_SIZE (16u << 10)
#define ENVIRONMENT_MAX	 64
#define FIRST_LINE	 256 /* Linux reads as many bytes of a script's first line */
#define BUSY_TRIES	 200
#define FREE_FD		 16 /* above every descriptor that a program is given */

static char path_variable[] =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static char *environment[ENVIRONMENT_MAX + 1] = {
    path_variable,
    (char[]){"HOME=/root"},
    (char[]){"USER=root"},
    (char[]){"LOGNAME=root"},
    (char[]){"SHELL=/bin/bash"},
    (char[]){"LANG=C.UTF-8"},
    (char[]){"TERM=dumb"},
};

/* Programs that would bring certificates of their own trust what the machine trusts: a
 * proxy's certificate may be put there (docs/network.md). Return: variables there are. */
static int name_certificates(int count)
{
	static char names[][64] = {
	    "SSL_CERT_FILE=" CERTIFICATES,
	    "REQUESTS_CA_BUNDLE=" CERTIFICATES,
	    "NODE_EXTRA_CA_CERTS=" CERTIFICATES,
	};

	if (access(CERTIFICATES, R_OK) < 0)
		return count;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		environment[count++] = names[i];
	return count;
}

/* An image adds to the environment as Debian does it: lines of NAME=VALUE. */
void spawn_init(void)
{
	size_t len;
	char *rest = io_read_file(ENVIRONMENT_FILE, ENVIRONMENT_SIZE, &len, NULL), *line;
	int count = 0;

	while (environment[count])
		count++;
	count = name_certificates(count);
	/* The text is not freed: the environment points into it. */
	while (rest && (line = strsep(&rest, "\n")) && count < ENVIRONMENT_MAX)
		if (line[0] != '#' && strchr(line, '='))
			environment[count++] = line;
}

const char *spawn_path(void)
{
	return path_variable + strlen("PATH=");
}

/* clone3(2) puts the child into its cgroup before it runs; as fork(2) otherwise. */
static pid_t fork_into(const struct group *group)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	long pid;

	if (!group || group->fd < 0)
		return fork();
	args.flags = CLONE_INTO_CGROUP;
	args.cgroup = (uint64_t)group->fd;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	return pid < 0 && errno != EAGAIN && errno != ENOMEM ? fork() : (pid_t)pid;
}

static void default_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int install_fds(const struct spawn *spawn)
{
	int high[SPAWN_FDS];

	for (int i = 0; i < spawn->fd_count; i++) {
		high[i] = fcntl(spawn->fds[i], F_DUPFD_CLOEXEC, FREE_FD);
		if (high[i] < 0)
			return -errno;
	}
	for (int i = 0; i < spawn->fd_count; i++)
		if (dup2(high[i], i) < 0)
			return -errno;
	syscall(SYS_close_range, spawn->fd_count, ~0u, 0);
	return 0;
}

static void lower_oom_score(void)
{
	cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && io_write_all(fd, "0", 1) < 0)
		return;
}

/* The interpreter that the first line of a script names, or NULL. */
static char *interpreter(const char *file, char *line)
{
	cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, FIRST_LINE - 1);
	char *name;

	if (n < 2 || line[0] != '#' || line[1] != '!')
		return NULL;
	line[n] = '\0';
	name = line + 2 + strspn(line + 2, " \t");
	name[strcspn(name, " \t\r\n")] = '\0';
	return name;
}

static int explain(const char *file, int errnum)
{
	char line[FIRST_LINE];
	const char *name = interpreter(file, line);

	if (name && !*name)
		dprintf(STDERR_FILENO, "the first line names no interpreter after #!\n");
	else
		dprintf(STDERR_FILENO, "%s: %s\n", name ? name : file, strerror(errnum));
	return errnum == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE;
}

static void take_terminal(char *term)
{
	size_t name = strcspn(term, "=") + 1;

	ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	for (char **at = environment; *at; at++)
		if (strncmp(*at, term, name) == 0)
			*at = term;
}

/* The file was just written. While another new process, on its way to its own
 * execve, still holds a copy of the descriptor, ours gets ETXTBSY. */
static void execute(const struct spawn *spawn)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	for (int i = 0; i < BUSY_TRIES; i++) {
		execve(spawn->file, spawn->argv, environment);
		if (errno != ETXTBSY)
			return;
		nanosleep(&pause, NULL);
	}
}

/* As on other machines. The agent may have more of them open than a program may, so its
 * descriptors are in place before. */
static void limit_files(void)
{
	struct rlimit files = {.rlim_cur = 1024, .rlim_max = 524288};
	struct rlimit mine;

	if (setrlimit(RLIMIT_NOFILE, &files) == 0 || getrlimit(RLIMIT_NOFILE, &mine) < 0)
		return;
	files.rlim_max = mine.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

static void __attribute__((noreturn)) child(const struct spawn *spawn)
{
	default_signals();
	setsid();
	umask(022);
	lower_oom_score();
	if (install_fds(spawn) < 0)
		_exit(EXIT_AGENT_FAILED);
	limit_files();
	if (spawn->term)
		take_terminal(spawn->term);
	if (chdir("/root") < 0 && chdir("/") < 0)
		_exit(EXIT_AGENT_FAILED);
	execute(spawn);
	_exit(explain(spawn->file, errno));
}

pid_t spawn(const struct spawn *spawn, struct error *err)
{
	pid_t pid = fork_into(spawn->group);

	if (pid == 0)
		child(spawn);
	if (pid < 0)
		return error_set(err, errno, "cannot start a process");
	if (spawn->group)
		spawn->group->session = pid;
	return pid;
}
