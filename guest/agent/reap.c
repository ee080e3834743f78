#include "guest/agent/reap.h"

#include "guest/agent/agent.h"
#include "guest/agent/group.h"
#include "guest/agent/run.h"
#include "guest/agent/terminal.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* One signal may stand for many children. */
static void reap(struct loop_source *source, uint32_t revents)
{
	struct agent *agent = container_of(source, struct agent, children);
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)revents;
	while (read(source->fd, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (!repl_reaped(&agent->repl, pid, status) &&
		    !files_reaped(&agent->files, pid) &&
		    !terminals_reaped(agent, pid, status))
			runs_reaped(agent, pid, status);
	files_look(&agent->files);
	groups_sweep();
}

int reap_init(struct agent *agent, struct error *err)
{
	sigset_t set;
	int fd, r;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return error_set(err, errno, "cannot watch for children");
	r = loop_add(&agent->loop, &agent->children, fd, EPOLLIN, reap);
	return r < 0 ? error_set(err, -r, "cannot watch for children") : 0;
}
