/*
 * One VM as the broker sees it: a child process, its control socket and its
 * channel.
 *
 * Theory of operation
 *
 * The child is executed as `vmctl vm` in a session of its own, with descriptor
 * 3 as control socket (SOCK_SEQPACKET, one JSON object per message) and 4 as
 * agent socket. The end of descriptor 3 makes it exit. A VM that has to go is told
 * so by shutting down that socket; one that does not heed it within VMPROC_GRACE_MS is
 * killed.
 *
 * A VM outlives a broker that is killed, because the keeper (keep.h) has the broker's ends
 * of the sockets, and @kept, too. The next broker adopts those that clients knew, and
 * destroys what was being made or destroyed. A fork or a freeze that was under way is
 * called off, unless the client may have had the reply: then the VM was @destroying.
 * The process of an adopted VM is no child of the broker and is known by its pidfd alone.
 * Its log is lost if it had ended.
 *
 * A VM says why it ends in a last control message. The broker adds the reason
 * itself when there was none. Its end counts from the moment it is reaped: then
 * the clients are told, the owner of the channel after the channel's last byte.
 * A dead VM stays until it is destroyed.
 *
 * The process of a fork is not the broker's child but that of the VM it was forked
 * from, as long as that lives; then the init of its family inherits it (init.h), or the
 * broker where there is none. It is known by the
 * credentials that the kernel attaches to its messages, and held by a pidfd from its
 * first message on, if it is of its family's namespace of pids. How it ended the broker
 * sees in /proc, until its parent or init waits for it. One that has never spoken is given
 * up at once: nothing but the end of its sockets tells it to end.
 *
 * The process may have been taken over by its guest: what it says is checked,
 * and bounded, like what a client says. It may have forked processes that the broker does
 * not know; they end with the last VM of the family (init.h).
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"
#include "vmctl/channel.h"
#include "vmctl/keep.h"
#include "vmctl/kept.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define VMPROC_GRACE_MS 2000
#define VMPROC_NAME_MAX KEPT_NAME_MAX
#define VMPROC_FDS	2 /* a VM's control and agent sockets */

struct broker;
struct fork;

/* What a VM is made of. The strings are the caller's. */
struct vmproc_spec {
	const char *template, *name, *group;
	const char *kernel, *initramfs, *base, *upper; /* paths */
	/* Of a machine that was frozen, instead of kernel, initramfs, upper and disk_mib:
	 */
	const char *file,
	    *other;		/* its snapshot, and what that was compared with, or NULL */
	const char *other_name; /* of the latter, or "" */
	int memory_mib, vcpus, disk_mib;
};

struct vmproc {
	struct link link, bucket; /* on the broker's lists */
	struct link pid_bucket;	  /* likewise, while its process is known and lives */
	struct broker *broker;
	struct channel channel;		    /* its id is the VM's */
	struct loop_source control, exited; /* the sources of control_fd and pidfd */
	struct loop_timer grace;	    /* fires when the process has to be killed */
	struct link requests;	 /* struct request, by its vm_link: wait for an answer */
	uint64_t count_seq;	 /* of the question how much it was ever sent, or 0 */
	int control_fd;		 /* -1 once closed */
	int pidfd;		 /* of its process, or -1 */
	struct fork *making;	 /* what makes it, or NULL */
	struct request *thawing; /* what waits for it to be made of a file, or NULL */
	struct link sibling;	 /* while @making: among those that it makes */
	struct kept *kept;	 /* what outlives the broker */
	struct vm_facts *facts;	 /* in there */
	int kept_fd;
	int family_fd;	/* while its process has not ended: its family's pipe (init.h) */
	int status;	/* while @gone: what is known of its status */
	bool adopted;	/* a former broker made it */
	bool gone;	/* a fork's process has ended; vmproc_reaped() is to come */
	json_t *policy; /* of its network, if this broker was told; or NULL */
	char *log;	/* what its guest had said when it ended, or NULL */
};

/**
 * vmproc_start() - start a VM process. One of a machine that was frozen is not seen yet.
 * Return: 0 with @vm set (the broker's; no owner yet), or -errno with @err.
 */
int vmproc_start(struct broker *broker, const struct vmproc_spec *spec, struct vmproc **vm,
		 struct error *err);

/**
 * vmproc_prepare() - a VM whose process a fork of @parent will be.
 * @fds: set to the ends of its sockets that its process gets; the caller's. After a
 *       failure they are -1.
 *
 * Return: the VM, or NULL with @err.
 */
struct vmproc *vmproc_prepare(struct vmproc *parent, const char *name, int fds[VMPROC_FDS],
			      struct error *err);

/**
 * vmproc_ask() - send @message to the process.
 * @fds: @count descriptors to go along, VM_FORK_BATCH * VMPROC_FDS at most.
 * Return: 0 or -errno with @err.
 */
int vmproc_ask(struct vmproc *vm, json_t *message, const int *fds, unsigned count,
	       struct error *err);

/**
 * vmproc_adopt() - take up a VM that a former broker had; vmproc_go_on() is to follow.
 * @fds: as KEEP_PUT has them; those that are taken over become -1.
 * Return: 0 or -errno with @err; -EPROTO when it cannot be taken up by this vmctl.
 */
int vmproc_adopt(struct broker *broker, int fds[KEEP_FDS_MAX], struct error *err);

/** vmproc_go_on() - an adopted VM goes on, or is destroyed if nobody can know of it. */
void vmproc_go_on(struct vmproc *vm);

/**
 * vmproc_open_proc() - open a file of /proc that is of the process, to be sent to it.
 * Return: a descriptor, or -errno with @err.
 */
int vmproc_open_proc(const struct vmproc *vm, const char *file, struct error *err);

/** vmproc_signal() - signal the process. Return: 0 or -errno. */
int vmproc_signal(struct vmproc *vm, int signal);

/**
 * vmproc_limit() - let the process use so much of one CPU's time; 0: no limit.
 * Return: 0 or -errno with @err.
 */
int vmproc_limit(struct vmproc *vm, int cpu_percent, struct error *err);

/** vmproc_destroy() - end the process and free the VM when it has been reaped. */
void vmproc_destroy(struct vmproc *vm);

/** vmproc_frozen() - it is in a file now: as vmproc_destroy(). */
void vmproc_frozen(struct vmproc *vm);

/** vmproc_reaped() - the process is gone; @status is as waitpid(2) has it. */
void vmproc_reaped(struct vmproc *vm, int status);
