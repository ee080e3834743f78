/*
 * The thread that destroys slots.
 *
 * Theory of operation: a slot ends with the last descriptor of its tap, and the kernel
 * makes who closes that wait until nobody looks at it any more, and until other namespaces
 * have ended. So that is done aside. A slot that is here has no rules any more, and no VM:
 * nothing passes, however long it takes.
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "vmctl/net/slot.h"

#include <pthread.h>

struct ender {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct link queue; /* struct ending, in ender.c */
};

/** ender_start() - start the thread, which ends with the process. Return: 0 or -errno
 * with @err. */
int ender_start(struct ender *ender, struct error *err);

/** ender_add() - destroy what is in @made, soon: it is taken over. Return: 0, or -ENOMEM:
 * it is the caller's yet. */
int ender_add(struct ender *ender, struct slot_made *made);
