/*
 * Runs: each is one piece of code that the host had executed.
 */
#pragma once

#include "guest/agent/feed.h"
#include "guest/agent/figures.h"
#include "guest/agent/group.h"
#include "guest/agent/output.h"
#include "guest/agent/spawn.h"
#include "util/list.h"
#include "wire/agent.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct agent;

enum run_state {
	RUN_CODE,   /* its code is coming in */
	RUN_WAITS,  /* the file server looks at the files as they are before it */
	RUN_QUEUED, /* waits for the REPL */
	RUN_BEGUN,  /* a process, or the REPL, has it */
	RUN_ENDED,  /* its status is known, its last output is being sent */
	RUN_LEFT,   /* the host knows its end; leftovers still hold its pipes */
};

struct run {
	struct link link; /* on agent->runs */
	struct agent *agent;
	enum run_state state;
	uint32_t stream;
	struct agent_run request;
	uint32_t code_left; /* bytes that are still to come */
	char path[96];	    /* the file that holds the code */
	int code_fd;
	int ends[SPAWN_FDS]; /* the program's stdin, stdout, stderr, code; -1: passed on */
	bool has_pipes;
	bool looked_at;	  /* the file server was asked to look */
	bool started;	  /* AGENT_STARTED is sent */
	bool interrupted; /* an interrupt waits for the start */
	bool killed;
	unsigned long memory_kills; /* of the whole guest, when it began */
	bool retried; /* it was given to a REPL that died before starting it */
	pid_t pid;    /* not Python: its process, which leads its session */
	struct group *group;
	struct feed feed;
	struct output out, err;
	struct figures figures;
	struct agent_exit status;
};

/** runs_frame() - a frame from the host that concerns one run. */
void runs_frame(struct agent *agent, const struct agent_frame *frame);

/** runs_resume() - the port has room again. */
void runs_resume(struct agent *agent);

/** runs_reaped() - the process @pid has ended with @status, as wait(2) says it. */
void runs_reaped(struct agent *agent, pid_t pid, int status);

/** runs_queued() - the first run that waits for the REPL, or NULL. */
struct run *runs_queued(struct agent *agent);

/** runs_launch() - the run that waits for the file server may start. */
void runs_launch(struct agent *agent, uint32_t stream);

/** run_open() - make the pipes of @run, if it has none. Return: 0 or -errno. */
int run_open(struct run *run);

/** run_started() - the program has all it needs and runs. */
void run_started(struct run *run);

/** run_ended() - the program has ended with @status; @run may be gone afterwards. */
void run_ended(struct run *run, struct agent_exit status);

/**
 * run_failed() - the run cannot begin: say so on its stderr and end it.
 * @code: its exit code. @run may be gone afterwards.
 */
__attribute__((format(printf, 3, 4))) void run_failed(struct run *run, uint8_t code,
						      const char *fmt, ...);

/** exit_of() - what wait(2) says, as the host is told it. */
struct agent_exit exit_of(int status);
