/*
 * Theory of operation
 *
 * A terminal is the master's end of a pseudoterminal. What the host types goes into it as
 * into a pipe, and what the program writes comes out as of one: the line discipline of the
 * guest's kernel does the rest, ^C and all.
 *
 * When the program ends, which leads the session, what is left to read is read, and
 * AGENT_EXIT follows. The kernel sends SIGHUP to the foreground, but a pseudoterminal stays
 * open: what the program left behind goes on, in its group, and what it still writes is
 * dropped, until the host closes the terminal. That closes the master, which is SIGHUP to
 * the session; what is there a while later is killed.
 */
#include "guest/agent/terminal.h"

#include "guest/agent/agent.h"
#include "guest/agent/feed.h"
#include "guest/agent/group.h"
#include "guest/agent/log.h"
#include "guest/agent/output.h"
#include "guest/agent/run.h"
#include "guest/agent/spawn.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#define TERM	    "TERM=xterm-256color"
#define GRACE_MSECS 1000 /* between SIGHUP and SIGKILL */

struct terminal {
	struct link link; /* on agent->terminals */
	struct agent *agent;
	uint32_t stream;
	int master; /* -1: hung up by the host, or never opened */
	pid_t pid;  /* 0: it has ended */
	bool told;  /* AGENT_EXIT is sent */
	struct agent_exit status;
	struct group *group;
	struct feed keys;
	struct output screen;
	struct loop_timer grace; /* once the host has closed it */
};

static struct terminal *find_terminal(const struct agent *agent, uint32_t stream)
{
	struct terminal *terminal;

	list_for_each (terminal, &agent->terminals, struct terminal, link)
		if (terminal->stream == stream && !terminal->grace.deadline_ns)
			return terminal;
	return NULL;
}

static void tell_end(struct terminal *terminal)
{
	if (terminal->pid || terminal->told || !output_is_sent(&terminal->screen))
		return;
	terminal->told = true;
	port_send_exit(&terminal->agent->port, terminal->stream, &terminal->status);
}

static void screen_changed(struct output *screen)
{
	tell_end(container_of(screen, struct terminal, screen));
}

static void hang_up(struct terminal *terminal)
{
	feed_close(&terminal->keys);
	output_close(&terminal->screen);
	if (terminal->master >= 0)
		close(terminal->master);
	terminal->master = -1;
}

static void end(struct terminal *terminal)
{
	loop_timer_cancel(&terminal->grace);
	if (terminal->group)
		group_kill(terminal->group);
	group_abandon(terminal->group);
	list_del(&terminal->link);
	free(terminal);
}

static void grace_ends(struct loop_timer *timer)
{
	end(container_of(timer, struct terminal, grace));
}

static void set_size(const struct terminal *terminal, const struct agent_size *size)
{
	const struct winsize window = {.ws_row = size->rows, .ws_col = size->cols};

	if (ioctl(terminal->master, TIOCSWINSZ, &window) < 0)
		log_say("cannot set the size of a terminal: %s", strerror(errno));
}

/* The master for one more use. Return: a descriptor or -errno. */
static int one_more(const struct terminal *terminal)
{
	int fd = fcntl(terminal->master, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Return: the program's end, or -errno. */
static int open_pair(struct terminal *terminal, const struct agent_size *size)
{
	const int unlocked = 0;
	int fd, r;

	terminal->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (terminal->master < 0 || ioctl(terminal->master, TIOCSPTLCK, &unlocked) < 0)
		return -errno;
	set_size(terminal, size);
	fd = one_more(terminal);
	r = fd < 0 ? fd : output_open(&terminal->screen, fd);
	if (r < 0)
		return r;
	fd = one_more(terminal);
	if (fd < 0)
		return fd;
	feed_open(&terminal->keys, fd);
	fd = ioctl(terminal->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int start(struct terminal *terminal, struct agent_terminal *request,
		 struct error *err)
{
	cleanup_close int peer = open_pair(terminal, &request->size);
	char *login[] = {(char[]){"bash"}, (char[]){"-l"}, NULL};
	char *command[] = {login[0], login[1], (char[]){"-c"}, request->command, NULL};
	pid_t pid;

	if (peer < 0)
		return error_set(err, -peer, "cannot open a terminal");
	terminal->group = group_new("terminal");
	pid = spawn(&(struct spawn){.file = "/bin/bash",
				    .argv = request->command[0] ? command : login,
				    .fds = (int[]){peer, peer, peer},
				    .fd_count = 3,
				    .group = terminal->group,
				    .term = (char[]){TERM}},
		    err);
	if (pid < 0)
		return pid;
	terminal->pid = pid;
	return 0;
}

static void failed(struct terminal *terminal, const struct error *err)
{
	log_say("%s", err->text);
	port_send(&terminal->agent->port, terminal->stream, AGENT_STDOUT, err->text,
		  strlen(err->text));
	hang_up(terminal);
	terminal->status = (struct agent_exit){0, EXIT_AGENT_FAILED};
	tell_end(terminal);
}

static void begin(struct agent *agent, const struct agent_frame *frame)
{
	struct agent_terminal request;
	struct terminal *terminal;
	struct error err;

	if (agent_get_terminal(frame, &request, &err) < 0) {
		log_say("%s", err.text);
		return;
	}
	terminal =
	    find_terminal(agent, frame->stream) ? NULL : calloc(1, sizeof(*terminal));
	if (!terminal) {
		log_say("no terminal: out of memory, or its stream is in use");
		return;
	}
	terminal->agent = agent;
	terminal->stream = frame->stream;
	feed_init(&terminal->keys, &agent->port, terminal->stream);
	output_init(&terminal->screen, &agent->port, terminal->stream, AGENT_STDOUT,
		    screen_changed);
	output_pace(&terminal->screen);
	loop_timer_init(&terminal->grace, grace_ends);
	list_add_before(&agent->terminals, &terminal->link);
	if (start(terminal, &request, &err) < 0)
		failed(terminal, &err);
}

static void resize(const struct terminal *terminal, const struct agent_frame *frame)
{
	struct agent_size size;
	struct error err;

	if (agent_get_size(frame, &size, &err) < 0)
		log_say("%s", err.text);
	else if (terminal->master >= 0)
		set_size(terminal, &size);
}

static void give_up(struct terminal *terminal)
{
	hang_up(terminal);
	if (terminal->pid)
		loop_timer_set(&terminal->agent->loop, &terminal->grace, GRACE_MSECS);
	else
		end(terminal);
}

void terminals_frame(struct agent *agent, const struct agent_frame *frame)
{
	struct terminal *terminal;

	if (frame->type == AGENT_TERMINAL) {
		begin(agent, frame);
		return;
	}
	terminal = find_terminal(agent, frame->stream);
	if (!terminal)
		return;
	if (frame->type == AGENT_STDIN)
		feed_bytes(&terminal->keys, frame->payload, frame->len);
	else if (frame->type == AGENT_TERMINAL_SIZE)
		resize(terminal, frame);
	else if (frame->type == AGENT_TERMINAL_CLOSE)
		give_up(terminal);
}

void terminals_resume(struct agent *agent)
{
	struct terminal *terminal;

	list_for_each (terminal, &agent->terminals, struct terminal, link)
		output_resume(&terminal->screen);
}

bool terminals_reaped(struct agent *agent, pid_t pid, int status)
{
	struct terminal *terminal;

	list_for_each (terminal, &agent->terminals, struct terminal, link) {
		if (terminal->pid != pid)
			continue;
		terminal->pid = 0;
		terminal->status = exit_of(status);
		feed_close(&terminal->keys);
		if (!terminal->grace.deadline_ns)
			output_drain(&terminal->screen);
		else if (group_is_empty(terminal->group))
			end(terminal);
		return true;
	}
	return false;
}

bool terminals_are_quiet(const struct agent *agent)
{
	const struct terminal *terminal;

	list_for_each (terminal, &agent->terminals, struct terminal, link)
		if (terminal->pid || !group_is_empty(terminal->group))
			return false;
	return true;
}
