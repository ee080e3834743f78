/*
 * The tap of a VM's process.
 *
 * {"op":"tap","seq":N} comes with the descriptor of a tap, as virtio_net_connect() wants
 * it: the guest's interface is connected to it from now on, and to no other. Without a
 * descriptor it is disconnected. The answer is {"seq":N}. The tap is closed when its
 * interface is gone, when another one comes, and in a fork, which gets one of its own.
 *
 * While the VM stands still nothing moves between guest and tap: the kernel keeps what
 * comes, as much as a tap's queue holds.
 */
#pragma once

#include "util/error.h"
#include "util/loop.h"
#include "vmctl/machine.h"
#include "vmctl/vm_fork.h"

struct vm_tap {
	struct machine *machine;
	struct loop *loop;
	struct loop_source source; /* holds the descriptor; main thread, device lock */
	bool still;
	void (*end)(const char *reason, int errnum); /* the VM; does not return */
};

/** vm_tap_init() - there is none yet. */
void vm_tap_init(struct vm_tap *tap, struct machine *machine, struct loop *loop,
		 void (*end)(const char *reason, int errnum));

/** vm_tap_order() - handle the request.
 * @fds: what came with it; taken over in any case.
 * Return: 0 or -errno with @err filled; then there is none. */
int vm_tap_order(struct vm_tap *tap, struct vm_fork_fds *fds, struct error *err);

/** vm_tap_watch() - under the device lock, in any thread: look at the device anew. */
void vm_tap_watch(struct vm_tap *tap);

/** vm_tap_still() - the VM stands still from now on, or does not any more. */
void vm_tap_still(struct vm_tap *tap, bool still);

/** vm_tap_part() - in a fork, whose loop is gone: close what is the parent's. */
void vm_tap_part(struct vm_tap *tap);
