/*
 * What of the uplink stays in the host's namespaces, with the privileges that `vmctl net`
 * has no more: a process that looks after it.
 *
 * Theory of operation
 *
 * kernel: whatever changes the host's rules (a firewall that is loaded anew flushes all of
 * them), the uplink's table is looked for, and set again.
 *
 * user: pasta is its child. It cannot rely on pasta's dying with its parent, since that is
 * forgotten when pasta, started by root, becomes another user: so it kills it.
 *
 * Guard and `vmctl net` each have one end of a socket pair, and neither outlives the other:
 * a guard ends when pasta has ended, or when the table cannot be set.
 */
#pragma once

#include "util/error.h"

struct guard_work {
	/* Begin. Return: a descriptor to wait for, the guard's; or -errno with @err. */
	int (*begin)(const void *data, struct error *err);
	/* It can be read. Return: 0, or -errno: the guard ends. */
	int (*turn)(const void *data, int fd);
	/* `vmctl net` has ended; or NULL. */
	void (*end)(const void *data, int fd);
	const void *data;
};

/**
 * guard_start() - fork a guard that does this work.
 * Return: a descriptor, the caller's, whose other end is the guard's; or -errno with @err,
 * which is that of begin() if that failed.
 */
int guard_start(const struct guard_work *work, struct error *err);
