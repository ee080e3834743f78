/*
 * Code that runs in a sandbox while somebody waits for it at a terminal, or a script does.
 *
 * Theory of operation: the run is begun by one request, and its two streams are followed
 * by two more, byte for byte, and its end by a third, all at a time. A ^C interrupts it,
 * a second one kills it, as do SIGTERM and SIGHUP; in each case its own end is waited for,
 * so that no output is lost and the caller can clean up. When stdout and stderr lead to
 * the same place the two are followed as one, which keeps the order they came in.
 */
#pragma once

#include "pffs/cli/command.h"

struct run_code {
	const char *sandbox; /* segment of a path */
	const char *code;
	size_t len;
	const char *language; /* NULL: python */
	double timeout;	      /* seconds; 0: the sandbox's own */
	bool with_stdin;      /* ours is the code's */
	json_t *kept;	      /* of run_events(): goes into the last line, or NULL */
};

/** run_signals() - from now on signals that would end us are waited for. Return: 0 or
 * -errno with @err filled. */
int run_signals(struct error *err);

/** run_signal_fd() - is readable when one of them came. */
int run_signal_fd(void);

/**
 * run_ask() - one question whose answer takes long: a signal ends it.
 * @waiting: what is told at a terminal when it takes long, or NULL.
 * Return: 0, or -errno with @err filled; -EINTR: a signal came.
 */
int run_ask(const struct client *client, struct transfer *transfer, const char *waiting,
	    struct error *err);

/**
 * run_code() - run it and wait for its end, after run_signals().
 * @status: set to its exit code.
 * Return: 0, or -errno with @err filled when it is not known how it ended.
 */
int run_code(struct command *command, const struct run_code *code, int *status,
	     struct error *err);

/** run_events() - likewise, with lines of JSON on standard output as `exec` of the HTTP
 * socket has them. */
int run_events(struct command *command, const struct run_code *code, int *status,
	       struct error *err);
