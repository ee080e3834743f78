/*
 * The threads that destroy slots.
 *
 * Theory of operation: a link that goes, and a tap, each have the kernel wait until nobody
 * looks at them any more: tens of milliseconds for each slot, in which it does nothing. So
 * that is done aside, by several threads, whose waiting overlaps. A slot that is here has
 * no rules any more, and no VM: nothing passes, however long it takes.
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "vmctl/net/slot.h"

#include <pthread.h>

#define ENDER_THREADS 4

struct ender {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct link queue; /* struct ending, in ender.c */
	struct ender_thread {
		struct ender *ender;
		struct rt hub; /* its own socket */
	} threads[ENDER_THREADS];
};

/**
 * ender_start() - start the threads; the caller is in the hub, and has no other threads.
 * They end with the process. Return: 0 or -errno with @err.
 */
int ender_start(struct ender *ender, struct error *err);

/**
 * ender_add() - destroy slot @number, soon. Takes over what is in @made.
 * Return: 0, or -ENOMEM: it is the caller's yet.
 */
int ender_add(struct ender *ender, unsigned number, struct slot_made *made);
