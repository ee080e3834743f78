/*
 * The daemon's socket, by which `pffs mount --only` has it serve a mount of a single
 * sandbox.
 *
 * Theory of operation: whoever wants such a mount makes it, with what the kernel or
 * fusermount3 allows him, in his own namespace, and sends the descriptor of /dev/fuse that
 * he got with the sandbox's id. The daemon asks the kernel who that is, and serves the
 * descriptor as another session (struct fs) when it is the sandbox's owner, the user who
 * runs the daemon, or root. Its answer is one sentence as in mount.c, "+" or "-" first.
 * The connection then stays for as long as the mount: the daemon closes it when the mount
 * has gone, and its end tells the other side that the mount is not served any more.
 * Meanwhile the other side is the mount's porter (porter.h).
 *
 * The socket is an abstract one with a random name, which is in the mount's `host`.
 */
#pragma once

#include "pffs/fs/fs.h"
#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"

#include <stdbool.h>

#define CONTROL_NAME_LEN 37 /* "pffs-" and 32 hex digits */

struct control {
	struct core *core;
	bool shared; /* users other than the daemon's have sandboxes, too */
	struct loop_source listener;
	struct link visits; /* connections */
	unsigned visit_count;
	char name[CONTROL_NAME_LEN + 1];
};

/** control_init() - listen. Return: 0 or -errno with @err filled. */
int control_init(struct control *control, struct core *core, bool shared,
		 struct error *err);

/** control_fini() - end the sessions, after the core has ended; no-op when not begun. */
void control_fini(struct control *control);

/**
 * control_connect() - connect to the socket with that name.
 * Return: a blocking descriptor, or -errno with @err filled.
 */
int control_connect(const char *name, struct error *err);
