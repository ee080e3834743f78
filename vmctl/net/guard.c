#include "vmctl/net/guard.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTLE_MS 100

/* Return: when one of both has ended. */
static void look(const struct guard_work *work, int parent, int fd)
{
	struct pollfd wait[] = {{.fd = parent, .events = POLLIN},
				{.fd = fd, .events = POLLIN}};
	int r = 0;

	while (r == 0) {
		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			break;
		if (wait[0].revents)
			break;
		/* What comes together is looked at together, and if there is use for it. */
		if (poll(wait, 1, SETTLE_MS) == 0)
			r = work->turn(work->data, fd);
	}
	if (work->end)
		work->end(work->data, fd);
}

__attribute__((noreturn)) static void run(const struct guard_work *work, int parent)
{
	struct error why = {.code = 0};
	int fd;

	io_close_but(&parent, 1);
	prctl(PR_SET_NAME, "vmctl-guard");
	fd = work->begin(work->data, &why);
	if (write(parent, &why, sizeof(why)) == sizeof(why) && fd >= 0)
		look(work, parent, fd);
	_exit(EXIT_SUCCESS);
}

int guard_start(const struct guard_work *work, struct error *err)
{
	cleanup_close int ours = -1, theirs = -1;
	struct error why;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot start a guard of the uplink");
	ours = pair[0];
	theirs = pair[1];
	pid = fork();
	if (pid < 0)
		return error_set(err, errno, "cannot start a guard of the uplink");
	if (pid == 0)
		run(work, theirs);
	close(steal_fd(&theirs));
	if (read(ours, &why, sizeof(why)) != sizeof(why))
		return error_say(err, EIO, "the guard of the uplink has ended");
	if (why.code == 0)
		return steal_fd(&ours);
	*err = why;
	return why.code;
}
