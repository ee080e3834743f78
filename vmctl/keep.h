/*
 * The keeper: `vmctl keep PATH`, a process that holds what VMs need to outlive the broker.
 *
 * Theory of operation
 *
 * Of each VM it has descriptors of the broker's ends of its sockets, of the memory of what
 * is known of it (kept.h), of its family's pipe (init.h), and of its process. It uses none
 * of them. So when the broker is killed the VM processes see no end of their sockets and go
 * on, and what they say waits. The next broker connects to PATH, a Unix socket of mode 0600
 * beside the broker's own, and is given all. It is served when the former one's connection
 * has ended, hence when nobody else uses the descriptors; only a process of the same user,
 * or root, is.
 *
 * The broker starts the keeper, and starts another one and gives it all anew should it end.
 * When both end so do the VMs, whose sockets nobody has any more. A keeper without a
 * broker ends when it has no VM, or when PATH is not there any more (it looks every
 * KEEP_LOOK_MS), since then nobody can come. Otherwise there is no limit to how long it
 * waits, as there is none to how long the machines of a pffs that was killed do.
 *
 * It has to be right when all else fails, so it is small: no memory but a table, no state
 * but whose turn it is.
 */
#pragma once

#include <stdint.h>

#define KEEP_LISTEN_FD 3
#define KEEP_BROKER_FD 4
#define KEEP_LOOK_MS   5000
#define KEEP_FDS_ENDED 3 /* of a VM: control socket, agent's stream, memory */
#define KEEP_FDS       4 /* and its family's pipe, until its process has ended */
#define KEEP_FDS_MAX   5 /* and its process, when that is known */

/* What is said either way, with descriptors; all of it in each message. */
enum keep_op {
	KEEP_PUT = 1, /* a VM: KEEP_FDS; as many as there are when it is given back */
	KEEP_PROCESS, /* a VM's process: a pidfd */
	KEEP_DROP,    /* the VM is no more */
	KEEP_CLEAR,   /* nor is any other: all that there are come now */
	KEEP_TAKE,    /* give me all; answered by a KEEP_PUT for each, and KEEP_DONE */
	KEEP_NET,     /* the network's socket (netproc.h), instead of any former one */
	KEEP_DONE,    /* that was all; @id is the largest that there ever was */
	KEEP_ENDED,   /* a VM's process has ended: KEEP_FDS_ENDED of it stay */
};

struct keep_message {
	uint32_t op, id;
};

/**
 * keep_send() - send a message. Waits while the other end is busy.
 * @fds: @count descriptors to go along.
 * Return: 0 or -errno.
 */
int keep_send(int fd, enum keep_op op, uint32_t id, const int *fds, unsigned count);

/**
 * keep_receive() - wait for a message.
 * @fds: room for KEEP_FDS_MAX; those that did not come are -1.
 * Return: 1, 0 at the end, or -errno.
 */
int keep_receive(int fd, struct keep_message *message, int fds[KEEP_FDS_MAX]);

/** keep_main() - the process. Return: its exit status. */
int keep_main(int argc, char **argv);
