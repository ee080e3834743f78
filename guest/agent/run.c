/*
 * Theory of operation
 *
 * A run's code collects in a file: bash and scripts are executed from it, and the
 * REPL is handed a descriptor of it, so that no message is long. The pipes exist
 * from the moment the run begins. Its end is that of the process the agent started
 * (or the REPL's word), not that of the pipes: a background process may hold them
 * open for ever. So after AGENT_EXIT a run stays as RUN_LEFT, invisible to the
 * host, reading and dropping what leftovers write, until the pipes close.
 */
#include "guest/agent/run.h"

#include "guest/agent/agent.h"
#include "guest/agent/log.h"
#include "guest/agent/reclaim.h"
#include "guest/agent/terminal.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define INTERRUPTED 130 /* 128 + SIGINT: as a shell says it */

struct agent_exit exit_of(int status)
{
	if (WIFSIGNALED(status))
		return (struct agent_exit){1, (uint8_t)WTERMSIG(status)};
	return (struct agent_exit){0, (uint8_t)WEXITSTATUS(status)};
}

static struct run *find_run(struct agent *agent, uint32_t stream)
{
	struct run *run;

	list_for_each (run, &agent->runs, struct run, link)
		if (run->stream == stream && run->state < RUN_ENDED)
			return run;
	return NULL;
}

struct run *runs_queued(struct agent *agent)
{
	struct run *run;

	list_for_each (run, &agent->runs, struct run, link)
		if (run->state == RUN_QUEUED)
			return run;
	return NULL;
}

static void close_ends(struct run *run)
{
	for (int i = 0; i < SPAWN_FDS; i++) {
		if (run->ends[i] >= 0)
			close(run->ends[i]);
		run->ends[i] = -1;
	}
}

static void close_code(struct run *run)
{
	if (run->code_fd >= 0)
		close(run->code_fd);
	run->code_fd = -1;
}

static void run_free(struct run *run)
{
	figures_fini(&run->figures);
	close_code(run);
	unlink(run->path);
	group_abandon(run->group);
	list_del(&run->link);
	free(run);
}

/* No process of the user's is left but a REPL that waits for its next run. */
static bool is_quiet(const struct agent *agent)
{
	const struct run *run;

	list_for_each (run, &agent->runs, struct run, link)
		if (run->state < RUN_ENDED || !group_is_empty(run->group))
			return false;
	return groups_are_gone() && terminals_are_quiet(agent) &&
	       repl_is_alone(&agent->repl);
}

/* It may have been a process of another run's that is still there; they share it all. */
static void tell_of_memory(struct run *run)
{
	if (groups_memory_kills() != run->memory_kills)
		port_send(&run->agent->port, run->stream, AGENT_OUT_OF_MEMORY, NULL, 0);
}

/* Take the steps that became possible; frees a run of which nothing is left. */
static void settle(struct run *run)
{
	if (run->state == RUN_ENDED && output_is_sent(&run->out) &&
	    output_is_sent(&run->err) && figures_are_sent(&run->figures)) {
		tell_of_memory(run);
		port_send_exit(&run->agent->port, run->stream, &run->status);
		run->state = RUN_LEFT;
		changes_after(&run->agent->files, run, is_quiet(run->agent));
	}
	if (run->state == RUN_LEFT && run->out.fd < 0 && run->err.fd < 0)
		run_free(run);
}

static void out_changed(struct output *output)
{
	settle(container_of(output, struct run, out));
}

static void err_changed(struct output *output)
{
	settle(container_of(output, struct run, err));
}

void run_started(struct run *run)
{
	if (run->started)
		return;
	run->started = true;
	close_ends(run);
	port_send(&run->agent->port, run->stream, AGENT_STARTED, NULL, 0);
	reclaim_soon(&run->agent->loop);
}

void run_ended(struct run *run, struct agent_exit status)
{
	run_started(run);
	run->state = RUN_ENDED;
	run->status = status;
	feed_close(&run->feed);
	output_finish(&run->out);
	output_finish(&run->err);
	settle(run);
}

void run_failed(struct run *run, uint8_t code, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text) - 1, fmt, ap);
	va_end(ap);
	strcat(text, "\n");
	run_started(run);
	port_send(&run->agent->port, run->stream, AGENT_STDERR, text, strlen(text));
	run_ended(run, (struct agent_exit){0, code});
}

/* One pipe: the program's end goes to ends[@number], ours is returned. */
static int open_pipe(struct run *run, int number)
{
	int ours = number == STDIN_FILENO ? 1 : 0;
	int pipe_fds[2], r;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	run->ends[number] = pipe_fds[!ours];
	r = io_set_nonblock(pipe_fds[ours], true);
	if (r == 0)
		return pipe_fds[ours];
	close(pipe_fds[ours]);
	return r;
}

int run_open(struct run *run)
{
	int fds[3], r;

	if (run->has_pipes)
		return 0;
	for (int i = 0; i < 3; i++) {
		fds[i] = open_pipe(run, i);
		if (fds[i] >= 0)
			continue;
		for (int k = 0; k < i; k++)
			close(fds[k]);
		return fds[i];
	}
	run->has_pipes = true;
	if (!run->request.stdin_open)
		feed_eof(&run->feed);
	feed_open(&run->feed, fds[0]);
	r = output_open(&run->out, fds[1]);
	return output_open(&run->err, fds[2]) < 0 || r < 0 ? -ENOMEM : 0;
}

static void execute(struct run *run)
{
	bool bash = run->request.language == AGENT_BASH;
	char *bash_argv[] = {(char[]){"bash"}, run->path, NULL};
	struct error err;
	pid_t pid;
	int r = run_open(run);

	close_code(run); /* a file open for writing cannot be executed */
	if (r < 0) {
		run_failed(run, EXIT_AGENT_FAILED, "cannot start the run: %s",
			   strerror(-r));
		return;
	}
	run->group = group_new("run");
	pid = spawn(&(struct spawn){.file = bash ? "/bin/bash" : run->path,
				    .argv = bash ? bash_argv : bash_argv + 1,
				    .fds = run->ends,
				    .fd_count = 3,
				    .group = run->group},
		    &err);
	if (pid < 0) {
		run_failed(run, EXIT_AGENT_FAILED, "%s", err.text);
		return;
	}
	run->pid = pid;
	run->state = RUN_BEGUN;
	run_started(run);
}

static void launch(struct run *run)
{
	if (run->request.language != AGENT_PYTHON) {
		execute(run);
		return;
	}
	run->state = RUN_QUEUED;
	repl_next(&run->agent->repl);
}

static void when_seen(struct run *run)
{
	run->state = RUN_WAITS;
	if (!changes_before(&run->agent->files, run))
		launch(run);
}

void runs_launch(struct agent *agent, uint32_t stream)
{
	struct run *run = find_run(agent, stream);

	if (run && run->state == RUN_WAITS)
		launch(run);
}

static void begin_run(struct agent *agent, const struct agent_frame *frame)
{
	struct agent_run request;
	struct error err;
	struct run *run;

	if (agent_get_run(frame, &request, &err) < 0) {
		log_say("%s", err.text);
		return;
	}
	run = find_run(agent, frame->stream) ? NULL : calloc(1, sizeof(*run));
	if (!run) {
		log_say("a run cannot begin: out of memory, or its stream is in use");
		return;
	}
	run->agent = agent;
	run->stream = frame->stream;
	run->request = request;
	run->memory_kills = groups_memory_kills();
	run->code_left = request.code_length;
	for (int i = 0; i < SPAWN_FDS; i++)
		run->ends[i] = -1;
	feed_init(&run->feed, &agent->port, run->stream);
	output_init(&run->out, &agent->port, run->stream, AGENT_STDOUT, out_changed);
	output_init(&run->err, &agent->port, run->stream, AGENT_STDERR, err_changed);
	figures_init(&run->figures, &agent->port, run->stream);
	list_add_before(&agent->runs, &run->link);
	snprintf(run->path, sizeof(run->path), "%s/run-%llu", agent->run_dir,
		 (unsigned long long)++agent->runs_begun);
	run->code_fd = open(run->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	if (run->code_fd < 0)
		run_failed(run, EXIT_AGENT_FAILED, "cannot store the code: %s",
			   strerror(errno));
	else if (run->code_left == 0)
		when_seen(run);
}

static void take_code(struct run *run, const struct agent_frame *frame)
{
	int r;

	if (run->state != RUN_CODE || frame->len > run->code_left) {
		log_say("the host sent more code than it had announced");
		return;
	}
	r = io_write_all(run->code_fd, frame->payload, frame->len);
	if (r < 0) {
		run_failed(run, EXIT_AGENT_FAILED, "cannot store the code: %s",
			   strerror(-r));
		return;
	}
	run->code_left -= frame->len;
	if (run->code_left == 0)
		when_seen(run);
}

static void interrupt(struct run *run)
{
	if (run->state != RUN_BEGUN)
		run_ended(run, (struct agent_exit){0, INTERRUPTED});
	else if (run->request.language == AGENT_PYTHON && !run->started)
		run->interrupted = true;
	else if (run->request.language == AGENT_PYTHON)
		repl_interrupt(&run->agent->repl);
	/* Until the child has its session, it is no group's leader. */
	else if (kill(-run->pid, SIGINT) < 0)
		kill(run->pid, SIGINT);
}

static void kill_run(struct run *run)
{
	run->killed = true;
	if (run->state != RUN_BEGUN) {
		run_ended(run, (struct agent_exit){1, SIGKILL});
	} else if (run->request.language == AGENT_PYTHON) {
		repl_kill(&run->agent->repl);
	} else {
		kill(run->pid, SIGKILL);
		if (run->group)
			group_kill(run->group);
	}
}

static void take_signal(struct run *run, const struct agent_frame *frame)
{
	struct error err;
	uint8_t number;

	if (agent_get_signal(frame, &number, &err) < 0)
		log_say("%s", err.text);
	else if (number == AGENT_INTERRUPT)
		interrupt(run);
	else
		kill_run(run);
}

void runs_frame(struct agent *agent, const struct agent_frame *frame)
{
	struct run *run;

	if (frame->type == AGENT_RUN) {
		begin_run(agent, frame);
		return;
	}
	run = find_run(agent, frame->stream);
	if (!run)
		return; /* it crossed the run's end on the way */
	if (frame->type == AGENT_CODE)
		take_code(run, frame);
	else if (frame->type == AGENT_STDIN)
		feed_bytes(&run->feed, frame->payload, frame->len);
	else if (frame->type == AGENT_STDIN_EOF)
		feed_eof(&run->feed);
	else if (frame->type == AGENT_SIGNAL)
		take_signal(run, frame);
}

void runs_resume(struct agent *agent)
{
	struct run *run;

	list_for_each (run, &agent->runs, struct run, link) {
		output_resume(&run->out);
		output_resume(&run->err);
		figures_resume(&run->figures);
		if (run->state == RUN_ENDED)
			settle(run);
	}
}

void runs_reaped(struct agent *agent, pid_t pid, int status)
{
	struct run *run;

	list_for_each (run, &agent->runs, struct run, link)
		if (run->state == RUN_BEGUN && run->pid == pid) {
			run_ended(run, exit_of(status));
			return;
		}
}
