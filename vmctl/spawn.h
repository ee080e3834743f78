/*
 * Starting a child process with exactly the descriptors it is meant to have.
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
	bool with_parent; /* SIGKILL when the thread that called spawn() ends */
};

/**
 * spawn() - execute a program in a session of its own.
 * @path: the program; looked up along PATH when it has no slash.
 * @argv: its arguments, NULL-terminated.
 *
 * The child's standard input is /dev/null, and it has no other descriptors than
 * those named here. Signals are as they were before anything was blocked or
 * ignored.
 *
 * Return: the process id, or -errno with @err filled, also when the program
 * cannot be executed.
 */
pid_t spawn(const char *path, const char *const argv[], const struct spawn_options *options,
	    struct error *err);
