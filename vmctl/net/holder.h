/*
 * The namespaces of the hub, and who we are in them.
 *
 * Theory of operation
 *
 * A process, the holder, makes a namespace of users and one of networks and stays there.
 * We stay in the host's until its side of the uplink is made, and join the holder then. In
 * there we are root, with all that this means for networks; to the host we are, if root
 * started us, a user of our own (JAIL_ID_NET), who owns no file and no process of
 * anybody's.
 *
 * We stay root where there is no such user, or it could not do its work: make taps (tun.h),
 * and execute vmctl-names.
 */
#pragma once

#include "util/error.h"

#include <sys/types.h>

struct holder {
	pid_t pid;	 /* -1: it has ended */
	int user, netns; /* its namespaces */
	int end;	 /* it ends when this is closed */
};

/** holder_start() - in the host's namespaces. Return: 0 or -errno with @err filled; in any
 * case @holder is to be ended. */
int holder_start(struct holder *holder, struct error *err);

/** holder_join() - be in its namespaces. Return: 0 or -errno with @err filled. */
int holder_join(const struct holder *holder, struct error *err);

/** holder_end() - the namespaces are there as long as anybody is in them. */
void holder_end(struct holder *holder);
