/*
 * Starting a program of the guest.
 */
#pragma once

#include "guest/agent/group.h"
#include "util/error.h"

struct spawn {
	const char *file;    /* what is executed */
	char *const *argv;   /* its arguments, NULL at the end */
	const int *fds;	     /* become descriptors 0, 1, 2, ... of the program */
	int fd_count;	     /* at most SPAWN_FDS; all others are closed */
	struct group *group; /* the program is put into it; may be NULL */
	char *term; /* "TERM=...": descriptor 0 becomes its session's terminal; or NULL */
};

#define SPAWN_FDS 4

/** spawn_init() - make the environment of programs, with /etc/environment in it. */
void spawn_init(void);

/** spawn_path() - the PATH of programs. */
const char *spawn_path(void);

/**
 * spawn() - start a program that leads a session of its own.
 *
 * When the file cannot be executed, the new process says why on its stderr and
 * exits with EXIT_NOT_FOUND or EXIT_NOT_RUNNABLE.
 *
 * Return: its pid, or -errno with @err filled.
 */
pid_t spawn(const struct spawn *spawn, struct error *err);
