#include "util/loop.h"

#include "util/io.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

int loop_init(struct loop *loop, struct error *err)
{
	*loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	list_init(&loop->timers);
	if (loop->epoll_fd < 0)
		return error_set(err, errno, "cannot make an epoll instance");
	return 0;
}

void loop_fini(struct loop *loop)
{
	close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events,
	     void (*fn)(struct loop_source *source, uint32_t revents))
{
	struct epoll_event ev = {.events = events, .data.ptr = source};

	*source = (struct loop_source){.fd = fd, .events = events, .fn = fn};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0)
		return 0;
	source->fd = -1;
	return -errno;
}

void loop_mod(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = source};

	if (source->fd < 0 || source->events == events)
		return;
	source->events = events;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &ev);
}

void loop_del(struct loop *loop, struct loop_source *source)
{
	if (source->fd < 0)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
	for (int i = 0; i < loop->batch_len; i++)
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
}

void loop_timer_init(struct loop_timer *timer, void (*fn)(struct loop_timer *timer))
{
	*timer = (struct loop_timer){.fn = fn};
	list_init(&timer->link);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
	struct loop_timer *other;
	struct link *before = &loop->timers;

	loop_timer_cancel(timer);
	timer->deadline_ns = io_monotonic_ns() + delay_ms * 1000000u;
	list_for_each (other, &loop->timers, struct loop_timer, link)
		if (other->deadline_ns > timer->deadline_ns) {
			before = &other->link;
			break;
		}
	list_add_before(before, &timer->link);
}

void loop_timer_cancel(struct loop_timer *timer)
{
	list_del(&timer->link);
	timer->deadline_ns = 0;
}

uint64_t loop_timer_left(const struct loop_timer *timer)
{
	uint64_t now = io_monotonic_ns();

	return timer->deadline_ns > now ? (timer->deadline_ns - now + 999999u) / 1000000u
					: 0;
}

/* Milliseconds until the first deadline, rounded up; -1 without one. */
static int next_timeout(const struct loop *loop)
{
	uint64_t ms;

	if (list_empty(&loop->timers))
		return -1;
	ms = loop_timer_left(container_of(loop->timers.next, struct loop_timer, link));
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* What was there at a deadline comes before it, however late this is: a timer fires when
 * events were asked for behind its deadline. */
static void fire_timers(struct loop *loop, uint64_t now)
{
	while (!list_empty(&loop->timers) && !loop->stop) {
		struct loop_timer *timer =
		    container_of(loop->timers.next, struct loop_timer, link);

		if (timer->deadline_ns > now)
			break;
		loop_timer_cancel(timer);
		timer->fn(timer);
	}
}

int loop_run(struct loop *loop)
{
	loop->stop = false;
	while (!loop->stop) {
		uint64_t now = io_monotonic_ns();
		int n =
		    epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, next_timeout(loop));

		if (n < 0 && errno != EINTR)
			return -errno;
		loop->batch_len = n > 0 ? n : 0;
		for (int i = 0; i < loop->batch_len && !loop->stop; i++) {
			struct loop_source *source = loop->batch[i].data.ptr;

			if (source)
				source->fn(source, loop->batch[i].events);
		}
		loop->batch_len = 0;
		fire_timers(loop, now);
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}
