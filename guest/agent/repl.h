/*
 * The REPL: a Python process that outlives runs and keeps their variables.
 */
#pragma once

#include "guest/agent/group.h"
#include "util/loop.h"

#include <stdbool.h>
#include <sys/types.h>

struct agent;
struct run;

enum repl_state {
	REPL_ABSENT,  /* no python3, or it does not come up */
	REPL_WARMING, /* started, has not reported yet */
	REPL_IDLE,
	REPL_BUSY,  /* has repl->run */
	REPL_DYING, /* killed, not reaped yet */
};

struct repl {
	struct agent *agent;
	enum repl_state state;
	pid_t pid;
	struct loop_source source; /* its socket */
	struct loop_timer lost;	   /* it closed the socket and does not exit */
	struct loop_timer poke;	   /* after an interrupt */
	unsigned int pokes;	   /* how many are still to come */
	struct group *group;
	struct run *run;	  /* REPL_BUSY, and REPL_DYING out of it */
	struct procs before;	  /* what was in the group when the run began */
	unsigned int failures;	  /* ends in a row before it was warm */
	unsigned int resets_due;  /* AGENT_RESET_DONE frames to send */
	unsigned int wakes_due;	  /* AGENT_AWAKE frames to send */
	unsigned int reseeds;	  /* "reseed" without an answer */
	bool alone;		  /* while idle: nothing of the user's runs */
	bool stale;		  /* to be reseeded before its next run */
	struct loop_timer reseed; /* how long they wait for a busy REPL */
	bool ready_sent;
};

/** repl_init() - start the first REPL; AGENT_READY follows when it is warm. */
void repl_init(struct repl *repl, struct agent *agent);

/** repl_next() - hand the next queued run over, if the REPL is free. */
void repl_next(struct repl *repl);

/**
 * repl_reseed() - have Python's generators take fresh entropy before they are used
 * again; AGENT_AWAKE follows. A REPL deep in C code gets it later, before its next line of
 * Python.
 */
void repl_reseed(struct repl *repl);

/** repl_interrupt() - SIGINT to the run that the REPL has. */
void repl_interrupt(struct repl *repl);

/** repl_kill() - kill the REPL, its run and what that run started; a new one follows. */
void repl_kill(struct repl *repl);

/** repl_reset() - replace the REPL; AGENT_RESET_DONE follows when the new one is warm. */
void repl_reset(struct repl *repl);

/**
 * repl_is_alone() - no Python runs before the next run, and nothing that the REPL
 * started is left.
 */
bool repl_is_alone(const struct repl *repl);

/** repl_reaped() - a process has ended. Return: true when it was the REPL. */
bool repl_reaped(struct repl *repl, pid_t pid, int status);
