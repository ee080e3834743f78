/*
 * For targets that have threads: how many work. An input ends when none does, since what a
 * thread holds would be a leak, and what it does would be of the next input.
 * A target that includes this wraps work_begin(): see tests/fuzz/Makefile.
 */
#pragma once

#include "tests/fuzz/world.h"
#include "util/work.h"

#include <time.h>

#define THREADS_MAX 64u /* orders at a time, more than there are */

static struct thread_order {
	struct work *work; /* NULL: none */
	void (*done)(struct work *work);
} thread_orders[THREADS_MAX];
static unsigned threads_working;

void __real_work_begin(struct loop *loop, struct work *work, void (*run)(struct work *work),
		       void (*done)(struct work *work));
void __wrap_work_begin(struct loop *loop, struct work *work, void (*run)(struct work *work),
		       void (*done)(struct work *work));

static struct thread_order *thread_order_of(const struct work *work)
{
	for (unsigned i = 0; i < THREADS_MAX; i++)
		if (thread_orders[i].work == work)
			return &thread_orders[i];
	abort();
}

static void thread_has_worked(struct work *work)
{
	struct thread_order *order = thread_order_of(work);

	order->work = NULL;
	threads_working--;
	order->done(work);
}

void __wrap_work_begin(struct loop *loop, struct work *work, void (*run)(struct work *work),
		       void (*done)(struct work *work))
{
	*thread_order_of(NULL) = (struct thread_order){.work = work, .done = done};
	threads_working++;
	__real_work_begin(loop, work, run, thread_has_worked);
}

/** threads_turn() - world_turn(), and threads have a little time, which libFuzzer limits.
 */
static inline void threads_turn(struct world *w)
{
	const struct timespec little = {.tv_nsec = 20000};

	world_turn(w);
	nanosleep(&little, NULL);
}
