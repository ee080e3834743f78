/*
 * Theory of operation
 *
 * Agent and REPL talk over a socket that keeps message boundaries, in words:
 *
 *   agent: "run STREAM" with four descriptors: stdin, stdout, stderr, code
 *   REPL:  "figure" with a descriptor of a PNG, while it has a run
 *   REPL:  "warm" once, then for each run "started" and "done CODE"; both with
 *          " alone" behind when no Python runs before the next run: there is
 *          neither another thread nor a signal's handler that could
 *   agent: "reseed", at any time; REPL: "reseeded"
 *
 * A REPL that is alone is told to reseed when its next run comes, not when the machine
 * wakes: nobody can see a difference, but a fork that is never used has not touched
 * a third of a MiB of Python's memory, and is there sooner.
 *
 * An interrupt is SIGINT, sent only between "started" and "done": before, it waits
 * in the run; the REPL itself ignores one that arrives after its code has ended.
 * Python looks at signals between two steps and when a system call was interrupted.
 * A signal that comes after the look and before the call would wait until the call
 * returns, perhaps for ever: so a few SIGURG follow, for which the REPL does nothing.
 *
 * The REPL may die at any moment, of its code or of a signal. What it said before
 * is read first; then a run that it had started ends as the process did, and one
 * that it had not is queued again, with the same pipes. A new REPL starts by itself,
 * unless it keeps dying before it is warm: then each new run or reset tries again.
 */
#include "guest/agent/repl.h"

#include "guest/agent/agent.h"
#include "guest/agent/log.h"
#include "guest/agent/purge.h"
#include "guest/agent/run.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FAILURES_MAX 3
#define WORD_MAX     64
#define LOST_MSECS   500
#define RESEED_MSECS 250
#define POKE_MSECS   50
#define POKES	     5
#define REST_TURNS   500
#define REST_TURN_NS 1000000
#define WARM	     "warm"
#define DONE	     "done "
#define ALONE	     " alone"

static const char closed_its_socket[] =
    "the code closed the REPL's own descriptors: the REPL starts anew\n";

/* Search for python3 as a shell would. */
static bool find_python(char path[PATH_MAX])
{
	const char *at = spawn_path();

	while (*at) {
		int len = (int)strcspn(at, ":");

		snprintf(path, PATH_MAX, "%.*s/python3", len, at);
		if (access(path, X_OK) == 0)
			return true;
		at += len + (at[len] == ':');
	}
	return false;
}

/* It has said that it is warm, and is about to wait for its first run. */
static void let_rest(const struct repl *repl)
{
	const struct timespec turn = {.tv_nsec = REST_TURN_NS};

	for (unsigned i = 0; i < REST_TURNS && repl->pid && !proc_sleeps(repl->pid); i++)
		nanosleep(&turn, NULL);
}

/* Tell the host what it waits for: the REPL is up, or will not come up. */
static void settled(struct repl *repl)
{
	struct port *port = &repl->agent->port;

	if (!repl->ready_sent) {
		/* This may be the moment at which forks of this machine are made: what
		 * is left to do now, and to write, each of them would do by itself. */
		let_rest(repl);
		sync();
		port_send(port, 0, AGENT_READY, NULL, 0);
	}
	repl->ready_sent = true;
	for (; repl->resets_due; repl->resets_due--)
		port_send(port, 0, AGENT_RESET_DONE, NULL, 0);
}

static void repl_event(struct loop_source *source, uint32_t revents);

/* Return: 0 or -errno with @err filled. */
static int start_process(struct repl *repl, const char *python, struct error *err)
{
	cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	cleanup_close int ours = -1, theirs = -1;
	char *argv[] = {(char[]){"python3"}, (char *)(uintptr_t)repl->agent->repl_path,
			NULL};
	int pair[2], r;
	pid_t pid;

	if (null_fd < 0)
		return error_set(err, errno, "cannot open /dev/null");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot make a socket for the REPL");
	ours = pair[0];
	theirs = pair[1];
	r = io_set_nonblock(ours, true);
	if (r == 0)
		r = loop_add(&repl->agent->loop, &repl->source, ours, EPOLLIN, repl_event);
	if (r < 0)
		return error_set(err, -r, "cannot watch the REPL");
	repl->group = group_new("repl");
	pid = spawn(&(struct spawn){.file = python,
				    .argv = argv,
				    .fds = (int[]){null_fd, null_fd, STDERR_FILENO, theirs},
				    .fd_count = 4,
				    .group = repl->group},
		    err);
	if (pid < 0) {
		loop_del(&repl->agent->loop, &repl->source);
		group_abandon(steal_pointer(&repl->group));
		return pid;
	}
	repl->pid = pid;
	repl->state = REPL_WARMING;
	repl->alone = repl->stale = false;
	repl->reseeds = 0;
	steal_fd(&ours);
	return 0;
}

/* Try to bring a REPL up. Otherwise the state is REPL_ABSENT and @why says why. */
static void repl_start(struct repl *repl, struct error *why)
{
	char python[PATH_MAX];

	repl->state = REPL_ABSENT;
	if (repl->failures >= FAILURES_MAX)
		error_say(why, ECHILD, "python3 does not start as a REPL: see the log");
	else if (!find_python(python))
		error_say(why, ENOENT, "this image has no python3");
	else
		start_process(repl, python, why);
	if (repl->state == REPL_ABSENT) {
		log_say("%s", why->text);
		settled(repl);
	}
}

static void fail_queued(struct repl *repl, const struct error *why)
{
	uint8_t code = why->code == -ENOENT ? EXIT_NOT_FOUND : EXIT_AGENT_FAILED;
	struct run *run;

	while ((run = runs_queued(repl->agent)))
		run_failed(run, code, "%s", why->text);
}

/* Start a REPL; when that fails, so do the runs that wait for one. */
static void restart(struct repl *repl)
{
	struct error why;

	repl_start(repl, &why);
	if (repl->state == REPL_ABSENT)
		fail_queued(repl, &why);
}

static int send_run(struct repl *repl, const struct run *run)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(run->ends))];
	} control = {0};
	char word[WORD_MAX];
	struct iovec iov = {.iov_base = word};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	iov.iov_len = (size_t)snprintf(word, sizeof(word), "run %u", run->stream);
	io_add_fds(&msg, &control, run->ends, sizeof(run->ends) / sizeof(run->ends[0]));
	return sendmsg(repl->source.fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int send_reseed(struct repl *repl)
{
	static const char word[] = "reseed";

	if (send(repl->source.fd, word, strlen(word), MSG_NOSIGNAL) < 0)
		return -errno;
	repl->reseeds++;
	repl->stale = false;
	return 0;
}

static void hand_over(struct repl *repl, struct run *run)
{
	int r = run_open(run);

	if (r == 0 && run->ends[3] < 0) {
		run->ends[3] = open(run->path, O_RDONLY | O_CLOEXEC);
		r = run->ends[3] < 0 ? -errno : 0;
	}
	procs_fini(&repl->before);
	if (r == 0 && repl->group)
		repl->before = group_list(repl->group);
	if (r == 0 && repl->stale)
		r = send_reseed(repl);
	if (r == 0)
		r = send_run(repl, run);
	if (r == -EPIPE || r == -ECONNRESET) {
		repl_kill(repl); /* it is dying by itself; the run stays queued */
	} else if (r < 0) {
		run_failed(run, EXIT_AGENT_FAILED, "cannot give the code to the REPL: %s",
			   strerror(-r));
	} else {
		run->state = RUN_BEGUN;
		repl->run = run;
		repl->state = REPL_BUSY;
	}
}

void repl_next(struct repl *repl)
{
	struct run *run;

	if (repl->state == REPL_ABSENT && runs_queued(repl->agent)) {
		repl->failures = 0;
		restart(repl);
	}
	while (repl->state == REPL_IDLE && (run = runs_queued(repl->agent)))
		hand_over(repl, run);
}

static void reseeded(struct repl *repl)
{
	loop_timer_cancel(&repl->reseed);
	for (; repl->wakes_due; repl->wakes_due--)
		files_awake(&repl->agent->files);
}

static void take_word(struct repl *repl, const char *word)
{
	uint8_t code;

	if (strncmp(word, WARM, strlen(WARM)) == 0 && repl->state == REPL_WARMING) {
		repl->state = REPL_IDLE;
		repl->alone = strstr(word, ALONE);
		repl->failures = 0;
		settled(repl);
	} else if (strcmp(word, "reseeded") == 0 && repl->reseeds) {
		if (!--repl->reseeds)
			reseeded(repl);
	} else if (strcmp(word, "started") == 0 && repl->run) {
		run_started(repl->run);
		if (repl->run->interrupted)
			repl_interrupt(repl);
	} else if (strncmp(word, DONE, strlen(DONE)) == 0 && repl->run) {
		code = (uint8_t)strtoul(word + strlen(DONE), NULL, 10);
		repl->alone = strstr(word, ALONE);
		if (repl->state == REPL_BUSY)
			repl->state = REPL_IDLE;
		run_ended(steal_pointer(&repl->run), (struct agent_exit){0, code});
	}
}

/* Also the descriptor that came with it: -1 without one. */
static ssize_t read_word(struct repl *repl, char *word, int *fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = word, .iov_len = WORD_MAX};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(repl->source.fd, &msg, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *cmsg = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	*fd = -1;
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
	    cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(cmsg), sizeof(int));
	return n;
}

/* Read all that the REPL has said. Return: false when it will say no more. */
static bool read_words(struct repl *repl)
{
	char word[WORD_MAX + 1];
	ssize_t n;
	int fd;

	while ((n = read_word(repl, word, &fd)) > 0) {
		word[n] = '\0';
		if (fd < 0)
			take_word(repl, word);
		else if (strcmp(word, "figure") == 0 && repl->run)
			figures_add(&repl->run->figures, fd);
		else
			close(fd);
	}
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void hang_up(struct repl *repl)
{
	int fd = repl->source.fd;

	if (fd < 0)
		return;
	loop_del(&repl->agent->loop, &repl->source);
	close(fd);
}

/* A process that exits closes its descriptors first, so its end is told by SIGCHLD
 * right after this. One that lives on has closed the socket and is lost to us. */
static void repl_event(struct loop_source *source, uint32_t revents)
{
	struct repl *repl = container_of(source, struct repl, source);

	(void)revents;
	if (read_words(repl)) {
		repl_next(repl);
		return;
	}
	hang_up(repl);
	repl->state = REPL_DYING;
	loop_timer_set(&repl->agent->loop, &repl->lost, LOST_MSECS);
}

static void repl_lost(struct loop_timer *timer)
{
	struct repl *repl = container_of(timer, struct repl, lost);

	if (repl->run)
		port_send(&repl->agent->port, repl->run->stream, AGENT_STDERR,
			  closed_its_socket, strlen(closed_its_socket));
	repl_kill(repl);
}

static void repl_poke(struct loop_timer *timer)
{
	struct repl *repl = container_of(timer, struct repl, poke);

	if (repl->state != REPL_BUSY || repl->pokes-- == 0)
		return;
	kill(repl->pid, SIGURG);
	loop_timer_set(&repl->agent->loop, timer, POKE_MSECS);
}

static void reseed_late(struct loop_timer *timer)
{
	reseeded(container_of(timer, struct repl, reseed));
}

/* One that is not warm yet may have seeded itself, too: it hears of it before its
 * first run, and nobody needs to wait for that. */
void repl_reseed(struct repl *repl)
{
	bool later = repl->state == REPL_IDLE && repl->alone;

	repl->wakes_due++;
	repl->stale |= later;
	if (later || repl->source.fd < 0 || send_reseed(repl) < 0 ||
	    (repl->state != REPL_IDLE && repl->state != REPL_BUSY)) {
		reseeded(repl);
		return;
	}
	loop_timer_set(&repl->agent->loop, &repl->reseed, RESEED_MSECS);
	if (repl->state == REPL_BUSY) {
		repl->pokes = POKES;
		repl_poke(&repl->poke);
	}
}

void repl_init(struct repl *repl, struct agent *agent)
{
	*repl = (struct repl){.agent = agent, .source = LOOP_SOURCE_NONE};
	loop_timer_init(&repl->lost, repl_lost);
	loop_timer_init(&repl->poke, repl_poke);
	loop_timer_init(&repl->reseed, reseed_late);
	restart(repl);
}

void repl_interrupt(struct repl *repl)
{
	if (repl->state != REPL_BUSY)
		return;
	kill(repl->pid, SIGINT);
	repl->pokes = POKES;
	loop_timer_set(&repl->agent->loop, &repl->poke, POKE_MSECS);
}

void repl_kill(struct repl *repl)
{
	if (repl->pid <= 0)
		return;
	kill(repl->pid, SIGKILL);
	repl->state = REPL_DYING;
	if (repl->run && repl->group)
		purge(&repl->agent->loop, steal_pointer(&repl->group), &repl->before);
}

void repl_reset(struct repl *repl)
{
	repl->resets_due++;
	repl->failures = 0;
	if (repl->run)
		repl->run->killed = true;
	if (repl->pid > 0)
		repl_kill(repl);
	else
		restart(repl);
}

bool repl_is_alone(const struct repl *repl)
{
	struct procs procs;
	bool alone;

	if (repl->state == REPL_ABSENT)
		return true;
	if (repl->state != REPL_IDLE || !repl->alone || !repl->group)
		return false;
	procs = group_list(repl->group);
	alone = procs.count == 1;
	procs_fini(&procs);
	return alone;
}

bool repl_reaped(struct repl *repl, pid_t pid, int status)
{
	struct agent_exit end = exit_of(status);
	struct run *run;

	if (pid != repl->pid)
		return false;
	if (repl->source.fd >= 0)
		read_words(repl);
	hang_up(repl);
	loop_timer_cancel(&repl->lost);
	repl->pid = 0;
	if (repl->state == REPL_WARMING) {
		repl->failures++;
		log_say("the REPL ended before it was warm, %s %u",
			end.signaled ? "by signal" : "with exit code", end.value);
	}
	group_abandon(steal_pointer(&repl->group));
	procs_fini(&repl->before);
	run = steal_pointer(&repl->run);
	if (run && !run->started && !run->killed && !run->retried) {
		run->retried = true;
		run->state = RUN_QUEUED;
	} else if (run) {
		run_ended(run, end);
	}
	restart(repl);
	return true;
}
