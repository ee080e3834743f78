/*
 * How the process of a VM forks.
 *
 * Theory of operation
 *
 * {"op":"fork","seq":N,"names":[...],"agent_in":TOTAL,"more":BOOL} comes with two
 * descriptors for each of at most VM_FORK_BATCH names, the child's control socket and
 * its agent stream. The process waits until the guest has taken TOTAL bytes from its
 * agent's stream, for some VM_FORK_PATIENCE_MS, so that no frame is cut. Then it
 * parks the vCPUs, saves their state, seals the disk and calls fork(2) for each name.
 * The answer is {"seq":N,"made":COUNT,"agent_out":COUNT,"pause_usec":}: the children
 * go on behind byte COUNT of what the guest said. Several children wait at a gate until
 * the last of them is made: otherwise they would take the processors while their parent
 * stands still, which is what it all is about.
 *
 * After an order with "more" the VM stands still until the next one, with the streams
 * of its agent, so that the children of all orders are of one moment. It runs on after
 * an order without, after a failure, when an order without names cancels the rest, or
 * when nothing comes for VM_FORK_HOLD_MS. After a failure the broker ends those of the
 * children that there are.
 *
 * {"op":"park"} keeps the vCPUs parked until {"op":"resume"}. A parked VM can be
 * forked too, and what KVM knows of it is read for its first child alone.
 *
 * With "unborn" the last child of an order is a VM that stands still from the start: it
 * has no VM of KVM and no vCPUs before it is told to resume. Until then bytes for its
 * agent wait in their socket, so that the guest has them when it begins.
 *
 * {"op":"freeze","seq":N,"agent_in":TOTAL,"template":,"base":} comes with the descriptor of
 * an empty file, with /proc/PID/pagemap of the process, which has no /proc, and with that
 * of the snapshot called "base" unless that is "". It begins as an order to fork does, and
 * then writes the machine to the file (machine.h). The answer is
 * {"seq":N,"agent_out":COUNT,"bytes":LENGTH}, and the VM stands still, since it is in the
 * file now, until it is told to resume or to end. After a failure it runs on.
 * {"op":"save","seq":N,"template":}, with the first two of these, writes the memory alone,
 * of a VM that is parked and stays so. Both take seconds, of which {"event":"busy"} tells
 * now and then.
 *
 * In the child the event loop ends: it is that of the parent. vm_fork_part() makes
 * the process a VM of its own, for which the caller then runs a new loop. Only the
 * main thread is there after fork(2); the other threads were parked, so they held
 * no lock but that of the vCPUs, which is made anew.
 */
#pragma once

#include "util/error.h"
#include "util/loop.h"
#include "vmctl/machine.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define VM_FORK_PATIENCE_MS 1000
#define VM_FORK_HOLD_MS	    20000
#define VM_FORK_FDS	    2
#define VM_FORK_BATCH	    64 /* names in an order; 126 at most, and then slower */

struct vm_fork_fds {
	unsigned count;
	int fd[VM_FORK_BATCH * VM_FORK_FDS]; /* control and agent of each child */
};

struct vm_fork_ops {
	void (*answer)(json_t *reply, json_t *seq); /* takes over @reply */
	void (*hold)(bool on);			    /* stop the agent's stream, or not */
	void (*still)(bool on);			    /* the machine stands still, or not */
	snapshot_progress_fn *busy;		    /* say that it is at work */
};

struct vm_fork {
	struct machine *machine;
	struct loop *loop;
	const struct vm_fork_ops *ops;
	struct loop_timer look; /* armed while a fork waits for its guest, or @held */
	struct kvm_state state; /* of the machine, while @saved */
	bool parked;		/* until it is told to resume */
	bool unborn;		/* parked, and has never run */
	bool held;		/* until the rest of a fork has been ordered */
	bool saved;
	unsigned child_index; /* which one of the order */
	uint64_t still_ns;    /* since when it stands still, for a fork */
	int gate;	      /* an eventfd: the children may begin; or -1 */

	/* The order that waits; @order is NULL when none does. */
	json_t *order;
	void (*act)(struct vm_fork *fork); /* carries it out */
	uint64_t agent_in;
	unsigned looks;		/* that are left, at what the guest has taken */
	struct vm_fork_fds fds; /* -1 where they are a child's */
};

/** vm_fork_init() - nothing is to be forked yet. */
void vm_fork_init(struct vm_fork *fork, struct machine *machine, struct loop *loop,
		  const struct vm_fork_ops *ops);

/**
 * vm_fork_order() - handle the request to fork, which is answered later.
 * @fds: what came with it; taken over in any case.
 */
void vm_fork_order(struct vm_fork *fork, json_t *request, struct vm_fork_fds *fds);

/**
 * vm_fork_freeze() - handle the request to freeze the VM, which is answered later.
 * @fds: as vm_fork_order().
 */
void vm_fork_freeze(struct vm_fork *fork, json_t *request, struct vm_fork_fds *fds);

/** vm_fork_save() - handle the request to save the memory of a parked VM. */
void vm_fork_save(struct vm_fork *fork, json_t *request, struct vm_fork_fds *fds);

/** vm_fork_park() - park the vCPUs until vm_fork_resume(). */
void vm_fork_park(struct vm_fork *fork);

/**
 * vm_fork_resume() - let the vCPUs run on; no-op when they do.
 * Return: 0, or -errno with @err filled; then the process is to end.
 */
int vm_fork_resume(struct vm_fork *fork, struct error *err);

/** vm_fork_take_fds() - in the child: put its sockets where the VM has its own. */
void vm_fork_take_fds(struct vm_fork *fork, int control_fd, int agent_fd);

/**
 * vm_fork_part() - in the child, when its sockets are watched: become a machine of
 * its own, and run, unless it is to be unborn.
 * Return: 0, or -errno with @err filled; then the process is to end.
 */
int vm_fork_part(struct vm_fork *fork, int agent_fd, struct error *err);
