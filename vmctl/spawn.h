/*
 * Starting a child process with exactly the descriptors it is meant to have.
 *
 * Theory of operation: a family is a namespace of pids. A process that makes one does not
 * enter it, its children do; so a helper makes it, and then two processes that are not its
 * own children but its parent's (CLONE_PARENT): `vmctl init`, the first in the namespace,
 * with which all others would end (init.h), and the program itself. The helper ends. Where
 * the kernel refuses the namespace there is no init, and the program is executed all the
 * same.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <sys/types.h>

#define SPAWN_FIRST_FD 3
#define SPAWN_FDS_MAX  8

struct spawn_options {
	const int *fds;	  /* they become SPAWN_FIRST_FD and so on; the caller's */
	int count;	  /* of @fds, at most SPAWN_FDS_MAX */
	int output;	  /* standard output and error; 0: our standard error */
	int program;	  /* a descriptor of what is executed; 0: it is @path that is */
	bool with_parent; /* SIGKILL when the thread that called spawn() ends */
	uid_t family; /* in a family of its own; of this user is its init; 0: it is not */
	int alive;    /* if @family: of a pipe, that at whose end init ends (init.h) */
};

/**
 * spawn() - execute a program in a session of its own.
 * @path: the program; looked up along PATH when it has no slash. Of options->program it is
 *	only what it is called.
 * @argv: its arguments, NULL-terminated.
 *
 * The child's standard input is /dev/null, and it has no other descriptors than
 * those named here. Signals are as they were before anything was blocked or ignored.
 *
 * Return: the process id, or -errno with @err filled, also when the program
 * cannot be executed.
 */
pid_t spawn(const char *path, const char *const argv[], const struct spawn_options *options,
	    struct error *err);
