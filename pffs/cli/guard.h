/*
 * The guard: what is left of pffs's rights.
 *
 * Theory of operation: pffs reads what guests and clients say, so it gives up the rights of
 * who started it before the first of them can say anything (account.h, confine.h). What it
 * needs those for later is done by a process that it forks before: to connect to vmctl's
 * socket, to start a vmctl and to end it, to mount and to unmount, to make an unnamed
 * file where long output is kept, and to remove the names that pffs leaves.
 *
 * The guard takes orders of one byte, over a pair of sockets, and answers each. An order
 * has no arguments: paths and programs were settled when the guard began, so nothing that a
 * guest or a client says ever comes to it, and a pffs that one of them has taken over can
 * have no more than these few things done. It starts one vmctl at a time and mounts once.
 *
 * A vmctl that it starts is pffs's child, as if pffs had started it. When pffs is killed
 * the guard ends, and leaves all as it is, for the next pffs. When the guard is killed
 * pffs goes on without: what it would have done fails.
 */
#pragma once

#include "pffs/cli/own_vmctl.h"
#include "util/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct guard_options {
	struct own_vmctl_options vmctl;
	const char *mountpoint; /* NULL: nothing is mounted */
	bool allow_other;
	const char *spool;	/* directory of unnamed files */
	const char *api_socket; /* removed by guard_end() */
	const char *log;	/* removed by guard_tidy(); or NULL */
};

struct guard {
	int fd; /* -1: there is none, or it is given up */
	pid_t pid;
};

#define GUARD_NONE ((struct guard){.fd = -1})

/**
 * guard_begin() - fork it. @options is read by the guard alone.
 * Return: 0 or -errno with @err filled.
 */
int guard_begin(struct guard *guard, const struct guard_options *options,
		struct error *err);

/**
 * guard_connect() - connect to vmctl's socket.
 * Return: a descriptor; -ENOENT or -ECONNREFUSED when nobody listens; or another -errno.
 */
int guard_connect(struct guard *guard, struct error *err);

/** guard_adopt() - is the vmctl that guard_connect() found that of a pffs which was killed?
 * Return: its process id, and it is ours; or 0. */
pid_t guard_adopt(struct guard *guard);

/** guard_note() - have the next pffs know the vmctl that was started. */
void guard_note(struct guard *guard);

/** guard_start() - start a vmctl. Return: its process id, or -errno with @err filled. */
pid_t guard_start(struct guard *guard, struct error *err);

/** guard_stop() - end the vmctl that was started or adopted, and wait for that.
 * Return: 0, or -errno: it goes on, for the next pffs. */
int guard_stop(struct guard *guard);

/** guard_mount() - Return: a descriptor of /dev/fuse, or -errno with @err filled. */
int guard_mount(struct guard *guard, struct error *err);

/** guard_unmount() - take away the mount; for who knows that it is there still. */
void guard_unmount(struct guard *guard);

/** guard_spool() - make an unnamed file. Return: a descriptor or -errno. */
int guard_spool(struct guard *guard);

/** guard_tidy() - remove the log. */
void guard_tidy(struct guard *guard);

/** guard_end() - end it and wait for that; no-op the second time. */
void guard_end(struct guard *guard);
