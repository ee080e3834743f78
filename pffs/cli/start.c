/*
 * Theory of operation: `pffs serve` goes to the background by itself, and its first
 * process ends when the other one is ready or has failed; what it says meanwhile is read
 * from a pipe and shown then. Who starts one holds a lock, so that two who need one at
 * the same moment start it once.
 */
#include "pffs/cli/start.h"

#include "pffs/cli/paths.h"
#include "pffs/cli/progress.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

#define SAID_MAX 8192
#define SELF	 "/proc/self/exe"

static _Noreturn void become_serve(int said)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid(); /* a ^C is not for it */
	dup2(said, STDOUT_FILENO);
	dup2(said, STDERR_FILENO);
	execl(SELF, "pffs", "serve", "--http", "none", NULL);
	dprintf(STDERR_FILENO, "pffs: cannot run %s: %s\n", SELF, strerror(errno));
	_exit(127);
}

/* Until the other end is closed. Return: 0 or -EINTR. */
static int listen_to(int fd, int cancel, struct buf *said)
{
	struct progress progress;
	int r = 1;

	progress_begin(&progress, "starting pffs");
	while (r > 0) {
		struct pollfd fds[] = {{.fd = fd, .events = POLLIN},
				       {.fd = progress.fd, .events = POLLIN},
				       {.fd = cancel, .events = POLLIN}};

		poll(fds, 3, -1);
		if (fds[2].revents)
			r = -EINTR;
		else if (fds[0].revents)
			r = (int)buf_fill(said, fd, SAID_MAX);
		else if (fds[1].revents)
			progress_tick(&progress);
		if (r == -EAGAIN)
			r = 1;
		if (said->len > SAID_MAX)
			buf_consume(said, said->len - SAID_MAX);
	}
	progress_end(&progress);
	return r == -EINTR ? r : 0;
}

static int start(int cancel, struct error *err)
{
	struct buf said = {0};
	int fds[2], status = 0, r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot start pffs");
	pid = fork();
	if (pid == 0)
		become_serve(fds[1]);
	close(fds[1]);
	r = pid < 0 ? 0 : listen_to(fds[0], cancel, &said);
	close(fds[0]);
	if (r == 0 && pid > 0)
		waitpid(pid, &status, 0);
	if (r == 0 && said.len)
		io_write_all_wait(STDERR_FILENO, buf_peek(&said), said.len);
	buf_fini(&said);
	if (r < 0)
		return error_say(err, EINTR, "it was interrupted");
	if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_say(err, EIO,
				 "cannot start pffs: `pffs doctor` says what is missing");
	fputs("pffs: it stays in the background; `pffs stop` ends it\n", stderr);
	return 0;
}

/* Return: a descriptor that has it, or -errno. */
static int lock(struct error *err)
{
	cleanup_free char *dir = paths_runtime_dir(err), *path = NULL;
	cleanup_close int fd = -1;

	if (!dir)
		return err->code;
	if (asprintf(&path, "%s/start.lock", dir) < 0) {
		path = NULL;
		return error_set(err, ENOMEM, "cannot start pffs");
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return error_set(err, errno, "cannot lock %s", path);
	return steal_fd(&fd);
}

struct client *start_client(const char *api, const char *sandbox, int cancel,
			    struct error *err)
{
	struct client *client = client_open(api, sandbox, err);
	cleanup_close int locked = -1;

	if (client || err->code != -ENOENT)
		return client;
	locked = lock(err);
	if (locked < 0)
		return NULL;
	client = client_open(api, sandbox, err);
	if (!client && err->code == -ENOENT && start(cancel, err) == 0)
		client = client_open(api, sandbox, err);
	return client;
}
