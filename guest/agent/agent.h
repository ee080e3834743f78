/*
 * The guest's agent: PID 1 of every sandbox.
 *
 * Theory of operation
 *
 * One thread, one event loop, and nothing that blocks once the guest has booted.
 * The agent speaks wire/agent.h on the port and owns every process of the guest:
 * boot.c makes the system, port.c carries the frames, run.c follows each run from
 * its first frame to its end (feed.c: its stdin, output.c: its stdout and stderr,
 * spawn.c: its process), terminal.c does so for terminals, repl.c keeps the Python REPL,
 * ports.c has connections from outside to ports of the guest,
 * group.c and purge.c hold what a run started together so that it can be killed, reap.c
 * collects the dead, wake.c gives the guest its identity, network.c its addresses, hold.c
 * stops everything for a while, reclaim.c gives free memory back to the host, files.c
 * passes requests about files on to the file server (guest/files/).
 *
 * PID 1 must not die: the kernel panics then. Failures end the run they concern,
 * with a sentence on its stderr; what concerns no run goes to the log.
 */
#pragma once

#include "guest/agent/files.h"
#include "guest/agent/links.h"
#include "guest/agent/port.h"
#include "guest/agent/repl.h"
#include "util/list.h"
#include "util/loop.h"

#include <stdbool.h>
#include <stdint.h>

/* The exit code of a run that the agent itself could not start. */
#define EXIT_AGENT_FAILED 125
#define EXIT_NOT_RUNNABLE 126 /* as a shell says it */
#define EXIT_NOT_FOUND	  127

struct agent {
	struct loop loop;
	struct port port;
	struct repl repl;
	struct files files;
	struct loop_source children; /* signalfd for SIGCHLD */
	struct link runs;	     /* struct run, in order of arrival */
	struct link terminals;	     /* struct terminal */
	struct link ports;	     /* struct connection, of ports.c */
	unsigned port_count;	     /* how many these are */
	bool is_init;		     /* false: an ordinary process, for tests */
	const char *run_dir;	     /* holds the code of runs */
	const char *repl_path;
	int files_root; /* the directory whose files the host sees; -1: none */
	struct layers layers;
	struct links links;
	uint64_t runs_begun;
};
