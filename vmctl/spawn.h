/*
 * Starting a child process with exactly the descriptors it is meant to have.
 */
#pragma once

#include "util/error.h"

#include <sys/types.h>

/**
 * spawn() - execute a program in a session of its own.
 * @path: the program; looked up along PATH when it has no slash.
 * @argv: its arguments, NULL-terminated.
 * @fds:  @count descriptors that become 3, 4, ...; they stay the caller's.
 *
 * The child's standard input is /dev/null, its standard output and error are our
 * standard error, and it has no other descriptors. Signals are as they were
 * before anything was blocked or ignored.
 *
 * Return: the process id, or -errno with @err filled, also when the program
 * cannot be executed.
 */
pid_t spawn(const char *path, const char *const argv[], const int *fds, int count,
	    struct error *err);
