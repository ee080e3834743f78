/*
 * How the process of a VM forks.
 *
 * Theory of operation
 *
 * {"op":"fork","seq":N,"name":,"agent_in":TOTAL} comes with two descriptors, the
 * child's control socket and its agent stream. The process waits until the guest
 * has taken TOTAL bytes from its agent's stream, for VM_FORK_PATIENCE_MS at most,
 * so that no frame is cut. Then it parks the vCPUs, saves their state, seals the
 * disk and calls fork(2). The answer is {"seq":N,"pid":,"agent_out":COUNT,
 * "pause_usec":}: the child goes on behind byte COUNT of what the guest said.
 *
 * {"op":"park"} keeps the vCPUs parked until {"op":"resume"}. A parked VM can be
 * forked too, and what KVM knows of it is read for its first child alone.
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
#define VM_FORK_FDS	    2

struct vm_fork {
	struct machine *machine;
	struct loop *loop;
	void (*answer)(json_t *reply, json_t *seq); /* takes over @reply */
	struct loop_timer look; /* armed while a fork waits for the guest */
	struct kvm_state state; /* of the machine, while @saved */
	bool parked;		/* until it is told to resume */
	bool saved;
	bool child; /* this process is the new one; vm_fork_part() is due */

	/* The order that waits; @seq is NULL when none does. */
	json_t *seq;
	uint64_t agent_in, until_ns;
	int fds[VM_FORK_FDS]; /* control, agent */
	char name[16];	      /* of the child's process */
};

/** vm_fork_init() - nothing is to be forked yet. */
void vm_fork_init(struct vm_fork *fork, struct machine *machine, struct loop *loop,
		  void (*answer)(json_t *reply, json_t *seq));

/**
 * vm_fork_order() - handle the request to fork, which is answered later.
 * @fds: the two descriptors; taken over in any case; -1 where one was missing.
 */
void vm_fork_order(struct vm_fork *fork, const json_t *request, const int fds[VM_FORK_FDS]);

/** vm_fork_park() - park the vCPUs until vm_fork_resume(). */
void vm_fork_park(struct vm_fork *fork);

/** vm_fork_resume() - let the vCPUs run on; no-op when they do. */
void vm_fork_resume(struct vm_fork *fork);

/** vm_fork_take_fds() - in the child: put its sockets where the VM has its own. */
void vm_fork_take_fds(struct vm_fork *fork, int control_fd, int agent_fd);

/**
 * vm_fork_part() - in the child, when its sockets are watched: become a machine of
 * its own, and run.
 * Return: 0, or -errno with @err filled; then the process is to end.
 */
int vm_fork_part(struct vm_fork *fork, int agent_fd, struct error *err);
