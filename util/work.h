/*
 * Long computations, beside the event loop.
 *
 * Theory of operation: what takes longer than others may wait is done by a thread of its
 * own, which is given all that it needs, and nothing that the loop uses meanwhile. The
 * loop hears of its end by an eventfd. Nothing else in this process has a second thread.
 */
#pragma once

#include "util/loop.h"

#include <pthread.h>

struct work {
	struct loop *loop;
	struct loop_source source; /* an eventfd */
	pthread_t thread;
	void (*run)(struct work *work);	 /* in the thread */
	void (*done)(struct work *work); /* in the loop, when it has run */
};

/**
 * work_begin() - run @run in a thread, and then @done in the loop, after which @work is
 * the caller's again; or, when there can be no thread, both at once.
 */
void work_begin(struct loop *loop, struct work *work, void (*run)(struct work *work),
		void (*done)(struct work *work));
