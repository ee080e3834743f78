/*
 * The agent starts in one of two ways: as PID 1 of a guest, without arguments, or
 * as `agent --port FD`, an ordinary process that serves the protocol on a socket
 * and leaves the system alone. Then PFFS_RUN_DIR is where code is kept,
 * PFFS_REPL is the path of repl.py, and PFFS_FILES_ROOT the folder whose files the host
 * sees, if it is to see any; PFFS_FILES_UPPER and PFFS_FILES_LOWER are the layers of the
 * overlay that it is, if it is one.
 */
#include "guest/agent/agent.h"
#include "guest/agent/boot.h"
#include "guest/agent/hold.h"
#include "guest/agent/limits.h"
#include "guest/agent/log.h"
#include "guest/agent/ports.h"
#include "guest/agent/reap.h"
#include "guest/agent/run.h"
#include "guest/agent/spawn.h"
#include "guest/agent/terminal.h"
#include "guest/agent/wake.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define DESCRIPTORS 65536 /* each run that left something behind holds two */

static struct agent agent;

/* A machine that is to stop everything does so before anything else. */
static void apply(const struct agent_wake *wake)
{
	hold_end();
	ports_end(&agent);
	if (wake->frozen)
		groups_freeze();
	files_wake(&agent.files);
	if (wake->frozen) {
		files_awake(&agent.files);
	} else {
		wake_apply(wake);
		repl_reseed(&agent.repl);
	}
}

static void on_frame(struct port *port, const struct agent_frame *frame)
{
	struct agent_wake wake;
	struct error err;

	if (frame->type == AGENT_RESET) {
		repl_reset(&agent.repl);
	} else if (frame->type == AGENT_FILES || frame->type == AGENT_FILES_CANCEL) {
		files_frame(&agent.files, frame);
	} else if (frame->type == AGENT_HOLD) {
		hold_frame(port, frame);
	} else if (frame->type == AGENT_LIMITS) {
		limits_frame(frame);
	} else if (frame->stream >= AGENT_TERMINALS) {
		terminals_frame(&agent, frame);
	} else if (agent_is_port(frame->stream)) {
		ports_frame(&agent, frame);
	} else if (frame->type != AGENT_WAKE) {
		runs_frame(&agent, frame);
	} else if (agent_get_wake(frame, &wake, &err) < 0) {
		log_say("%s", err.text);
	} else {
		port->epoch = wake.epoch;
		apply(&wake);
	}
}

static void on_room(struct port *port)
{
	(void)port;
	runs_resume(&agent);
	terminals_resume(&agent);
	ports_resume(&agent);
	files_resume(&agent.files);
}

static void before_output(struct port *port)
{
	(void)port;
	files_changes(&agent.files);
}

/* The kernel's killer must take a run, or the REPL, and never PID 1. */
static void protect(void)
{
	cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || io_write_all(fd, "-1000", 5) < 0)
		log_say("cannot protect the agent from the OOM killer");
}

/* Descriptors 0 to 2 are never one of ours that means something. */
static void fill_stdio(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int start_init(struct error *err)
{
	int r = boot_system(err);

	if (r < 0)
		return r;
	agent.is_init = true;
	agent.run_dir = BOOT_RUN_DIR;
	agent.repl_path = BOOT_REPL;
	agent.files_root = boot_open_root();
	agent.layers = boot_layers();
	links_init(&agent.links);
	umask(022);
	protect();
	fill_stdio();
	groups_init();
	wake_init(BOOT_IDENTITY);
	return boot_open_port(err);
}

static int open_named(const char *variable)
{
	const char *path = getenv(variable);

	return path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

static int start_test(int argc, char **argv, struct error *err)
{
	agent.files_root = open_named("PFFS_FILES_ROOT");
	agent.layers.upper = open_named("PFFS_FILES_UPPER");
	agent.layers.lower = open_named("PFFS_FILES_LOWER");
	agent.run_dir = getenv("PFFS_RUN_DIR");
	agent.repl_path = getenv("PFFS_REPL");
	if (argc != 3 || strcmp(argv[1], "--port") != 0 || !agent.run_dir ||
	    !agent.repl_path)
		return error_say(err, EINVAL,
				 "usage: PFFS_RUN_DIR=DIR PFFS_REPL=FILE agent --port FD");
	agent.port.may_end = true;
	return (int)strtol(argv[2], NULL, 10);
}

static int serve(int port_fd, struct error *err)
{
	const struct rlimit files = {DESCRIPTORS, DESCRIPTORS};
	int r;

	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	fcntl(port_fd, F_SETFD, FD_CLOEXEC);
	list_init(&agent.runs);
	list_init(&agent.terminals);
	list_init(&agent.ports);
	agent.port.on_frame = on_frame;
	agent.port.on_room = on_room;
	agent.port.before_output = before_output;
	spawn_init();
	r = loop_init(&agent.loop, err);
	if (r == 0)
		r = reap_init(&agent, err);
	if (r == 0)
		r = port_init(&agent.port, &agent.loop, port_fd, err);
	if (r < 0)
		return r;
	files_init(&agent.files, &agent, agent.files_root, &agent.layers);
	repl_init(&agent.repl, &agent);
	r = loop_run(&agent.loop);
	return error_set(err, -r, "the event loop has ended");
}

int main(int argc, char **argv)
{
	struct error err = {0};
	int fd = getpid() == 1 ? start_init(&err) : start_test(argc, argv, &err);

	if (fd >= 0)
		serve(fd, &err);
	log_fatal("%s", err.text);
}
