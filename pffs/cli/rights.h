/*
 * What pffs may do with the machine that it runs on.
 *
 * Theory of operation: rights_begin() settles where things are, and opens what pffs will
 * need of them while it has the rights of who started it; what it needs these for later
 * goes to the guard (guard.h). rights_give_up() leaves the rights of the account
 * (account.h), to nothing but these directories (confine.h). That comes before the first
 * byte of a guest or a client, or anything a former pffs has written down of them, is read.
 *
 * Directories are reached by their descriptors: the account need not be let into those
 * above them. Of the state directory the account has `sandboxes`; the rest is vmctl's, and
 * the guard's.
 */
#pragma once

#include "pffs/cli/account.h"
#include "pffs/cli/daemon.h"
#include "pffs/cli/guard.h"
#include "util/error.h"

struct rights {
	struct guard guard;
	struct account account;
	uid_t owner; /* who started it */
	gid_t owner_group;
	unsigned landlock;	    /* the ABI's version; 0: the kernel has none */
	char *images;		    /* how to reach it */
	char *state;		    /* of what is in @sandboxes, likewise; NULL: nowhere */
	char *runtime;		    /* directory of sockets */
	char *api_socket;	    /* in there */
	char *sandboxes, *machines; /* folders of the state directory, or NULL */
	char *vmctl_pid;	    /* file in there: of a vmctl of its own; or NULL */
	int state_fd, images_fd;
};

#define RIGHTS_NONE ((struct rights){.guard = GUARD_NONE, .state_fd = -1, .images_fd = -1})

/** rights_begin() - @options is borrowed. Return: 0 or -errno with @err filled; it is to be
 * ended in any case. */
int rights_begin(struct rights *rights, const struct daemon_options *options,
		 struct error *err);

/** rights_give_up() - Return: 0 or -errno with @err filled. */
int rights_give_up(struct rights *rights, struct error *err);

/** rights_end() - end the guard, and free all. */
void rights_end(struct rights *rights);
