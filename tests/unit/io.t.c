/*
 * What every program of the tree takes from util/io.h, where a kernel has a surprise.
 */
#include "util/io.h"
#include "tests/unit/process.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_SECONDS 30
#define PAUSE_NS      10000000

static bool comes_to_sleep(pid_t pid)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};

	for (unsigned i = 0; i < LIMIT_SECONDS * (1000000000u / PAUSE_NS); i++) {
		if (process_state(pid) == 'S')
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

/* Like pffs that waits for its guard. The exit code says what came. */
static _Noreturn void wait_for_answer(int from)
{
	const struct timeval limit = {.tv_sec = LIMIT_SECONDS};
	char answer = 0;
	int fd = -1;

	setsockopt(from, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (io_receive_fd(from, &answer, 1, &fd) != 1 || answer != 'a')
		_exit(1);
	_exit(fcntl(fd, F_GETFD) == FD_CLOEXEC ? 0 : 2);
}

/* signal(7): a receive with a limit fails with EINTR when its process is stopped and
 * continued, whatever handlers there are. pffs gave up its guard and its binder for that.
 */
static void stopped_and_continued(void)
{
	int pair[2], status = -1;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		exit(1);
	pid = fork();
	if (pid == 0)
		wait_for_answer(pair[1]);
	ok(comes_to_sleep(pid), "a process waits for an answer");
	kill(pid, SIGSTOP);
	ok(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "is stopped");
	kill(pid, SIGCONT);
	ok(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status), "goes on");
	is_int(io_send_fd(pair[0], "a", 1, STDOUT_FILENO, 0), 0, "the answer is sent");
	waitpid(pid, &status, 0);
	ok(WIFEXITED(status), "and has ended");
	is_int(WEXITSTATUS(status), 0, "with the answer, and the descriptor");
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	stopped_and_continued();
	return done_testing();
}
