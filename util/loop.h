/*
 * Event loop over epoll: descriptors and timers with callbacks, one thread.
 *
 * Theory of operation: a source or a timer is embedded in the object it serves
 * and belongs to that object's owner. A callback may remove or free any source
 * or timer, itself included: removal also takes the source out of the batch of
 * events that is being dispatched.
 */
#pragma once

#include "util/error.h"
#include "util/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_BATCH 64

struct loop_source {
	int fd; /* -1 while not registered */
	uint32_t events;
	void (*fn)(struct loop_source *source, uint32_t revents);
};

struct loop_timer {
	struct link link;     /* on loop->timers, in order of deadline */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0 while not armed */
	void (*fn)(struct loop_timer *timer);
};

struct loop {
	int epoll_fd;
	bool stop;
	struct link timers;
	struct epoll_event batch[LOOP_BATCH];
	int batch_len;
};

#define LOOP_SOURCE_NONE ((struct loop_source){.fd = -1})

/** loop_init() - make an empty loop. Return: 0 or -errno with @err filled. */
int loop_init(struct loop *loop, struct error *err);

/** loop_fini() - close the loop; its sources and timers stay their owners'. */
void loop_fini(struct loop *loop);

/**
 * loop_add() - watch @fd.
 * @source: the caller's, unregistered; it stays valid until loop_del().
 * @events: EPOLL* bits; 0 still reports EPOLLERR and EPOLLHUP.
 *
 * Return: 0 or -errno.
 */
int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events,
	     void (*fn)(struct loop_source *source, uint32_t revents));

/** loop_mod() - change the events of a registered source; cheap when equal. */
void loop_mod(struct loop *loop, struct loop_source *source, uint32_t events);

/** loop_del() - stop watching; the descriptor stays open. No-op when idle. */
void loop_del(struct loop *loop, struct loop_source *source);

/** loop_timer_init() - prepare a timer before its first use. */
void loop_timer_init(struct loop_timer *timer, void (*fn)(struct loop_timer *timer));

/** loop_timer_set() - arm (or arm anew) to fire once, @delay_ms from now. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms);

/** loop_timer_cancel() - disarm; no-op when not armed. */
void loop_timer_cancel(struct loop_timer *timer);

/** loop_timer_left() - milliseconds until an armed timer fires, rounded up. */
uint64_t loop_timer_left(const struct loop_timer *timer);

/** loop_run() - dispatch until loop_stop(). Return: 0 or -errno. */
int loop_run(struct loop *loop);

/** loop_stop() - make loop_run() return after the callback that is running. */
void loop_stop(struct loop *loop);
