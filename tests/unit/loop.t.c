/*
 * The event loop's promises: callbacks may remove or free any source or timer,
 * timers fire in the order of their deadlines, stopping is at once.
 */
#include "util/loop.h"
#include "util/io.h"

#include "tests/unit/tap.h"

#include <errno.h>
#include <unistd.h>

static struct loop loop;
static char order[16];

static void note(char c)
{
	size_t used = strlen(order);

	if (used + 1 < sizeof(order)) {
		order[used] = c;
		order[used + 1] = '\0';
	}
}

struct pair {
	struct loop_source source;
	int fd[2];
	int calls;
	struct pair *victim;
};

static void make_ready(struct pair *p, void (*fn)(struct loop_source *, uint32_t))
{
	*p = (struct pair){0};
	if (pipe(p->fd) < 0)
		ok(false, "cannot make a pipe");
	io_write_all(p->fd[1], "x", 1);
	is_int(loop_add(&loop, &p->source, p->fd[0], EPOLLIN, fn), 0, "a pipe is watched");
}

static void close_pair(struct pair *p)
{
	loop_del(&loop, &p->source);
	close(p->fd[0]);
	close(p->fd[1]);
}

static void remove_the_other(struct loop_source *source, uint32_t revents)
{
	struct pair *p = container_of(source, struct pair, source);

	(void)revents;
	p->calls++;
	loop_del(&loop, &p->victim->source);
	loop_stop(&loop);
}

static void a_removed_source_is_not_called(void)
{
	struct pair a, b;

	make_ready(&a, remove_the_other);
	make_ready(&b, remove_the_other);
	a.victim = &b;
	b.victim = &a;
	is_int(loop_run(&loop), 0, "the loop runs");
	is_int(a.calls + b.calls, 1, "one of two ready sources removed the other in time");
	is_int((a.calls ? &b : &a)->source.fd, -1, "which is no longer registered");
	close_pair(&a);
	close_pair(&b);
}

static void free_myself(struct loop_source *source, uint32_t revents)
{
	struct pair *p = container_of(source, struct pair, source);

	(void)revents;
	close_pair(p);
	free(p);
	note('f');
}

static void stop_timer(struct loop_timer *timer)
{
	(void)timer;
	note('s');
	loop_stop(&loop);
}

static void a_source_may_free_itself(void)
{
	struct pair *p = malloc(sizeof(*p));
	struct loop_timer end;

	order[0] = '\0';
	if (!p)
		return;
	make_ready(p, free_myself);
	loop_timer_init(&end, stop_timer);
	loop_timer_set(&loop, &end, 20);
	loop_run(&loop);
	is_str(order, "fs", "a source that freed itself is called once");
}

static struct loop_timer timer_a, timer_b, timer_c, timer_end;

static void note_timer(struct loop_timer *timer)
{
	if (timer == &timer_a)
		note('a');
	else
		note((char)(timer == &timer_b ? 'b' : 'c'));
}

static void cancel_c(struct loop_timer *timer)
{
	note_timer(timer);
	loop_timer_cancel(&timer_c);
}

static void timers_fire_in_order(void)
{
	uint64_t start = io_monotonic_ns();

	order[0] = '\0';
	loop_timer_init(&timer_a, note_timer);
	loop_timer_init(&timer_b, note_timer);
	loop_timer_init(&timer_c, note_timer);
	loop_timer_init(&timer_end, stop_timer);
	loop_timer_set(&loop, &timer_end, 40);
	loop_timer_set(&loop, &timer_c, 30);
	loop_timer_set(&loop, &timer_a, 10);
	loop_timer_set(&loop, &timer_b, 20);
	loop_run(&loop);
	is_str(order, "abcs", "timers fire in the order of their deadlines");
	ok(io_monotonic_ns() - start >= UINT64_C(40000000), "and not early");
	is_int(timer_a.deadline_ns, 0, "a timer that fired is not armed");
}

static void a_timer_may_cancel_another(void)
{
	order[0] = '\0';
	loop_timer_init(&timer_a, cancel_c);
	loop_timer_init(&timer_c, note_timer);
	loop_timer_init(&timer_end, stop_timer);
	loop_timer_set(&loop, &timer_a, 0);
	loop_timer_set(&loop, &timer_c, 0);
	loop_timer_set(&loop, &timer_end, 5);
	loop_run(&loop);
	is_str(order, "as", "a cancelled timer does not fire, though it was due");
	loop_timer_cancel(&timer_c);
	ok(list_empty(&loop.timers), "cancelling twice does no harm");
}

static void arming_again_moves_the_deadline(void)
{
	order[0] = '\0';
	loop_timer_init(&timer_a, note_timer);
	loop_timer_init(&timer_b, note_timer);
	loop_timer_init(&timer_end, stop_timer);
	loop_timer_set(&loop, &timer_a, 5);
	loop_timer_set(&loop, &timer_b, 10);
	loop_timer_set(&loop, &timer_a, 20);
	loop_timer_set(&loop, &timer_end, 30);
	loop_run(&loop);
	is_str(order, "bas", "a timer that is armed anew fires once, at its new deadline");
}

static struct pair later;

/* The other descriptor becomes ready, and then a deadline passes. */
static void take_long(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	loop_mod(&loop, source, 0);
	is_int(write(later.fd[1], "x", 1), 1, "something comes");
	usleep(100000);
}

static void note_and_stop(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	note('e');
	loop_mod(&loop, source, 0);
}

static void what_came_first_is_heard_first(void)
{
	struct pair busy;
	char x;

	order[0] = '\0';
	make_ready(&busy, take_long);
	make_ready(&later, note_and_stop);
	is_int(read(later.fd[0], &x, 1), 1, "nothing is there yet");
	loop_timer_init(&timer_end, stop_timer);
	loop_timer_set(&loop, &timer_end, 50);
	loop_run(&loop);
	is_str(order, "es", "what came before a deadline is heard before its timer fires");
	close_pair(&busy);
	close_pair(&later);
}

static void note_writable(struct loop_source *source, uint32_t revents)
{
	note((char)(revents & EPOLLOUT ? 'w' : '?'));
	loop_mod(&loop, source, 0);
}

static void events_can_be_changed(void)
{
	struct pair p;

	order[0] = '\0';
	make_ready(&p, note_writable);
	loop_del(&loop, &p.source);
	is_int(p.source.fd, -1, "an unwatched source says so");
	loop_del(&loop, &p.source);
	loop_mod(&loop, &p.source, EPOLLOUT);
	is_int(loop_add(&loop, &p.source, p.fd[1], 0, note_writable), 0,
	       "no event at first");
	loop_timer_init(&timer_end, stop_timer);
	loop_timer_set(&loop, &timer_end, 10);
	loop_run(&loop);
	is_str(order, "s", "so none comes");
	loop_mod(&loop, &p.source, EPOLLOUT);
	loop_timer_set(&loop, &timer_end, 10);
	loop_run(&loop);
	is_str(order, "sws", "a changed mask takes effect, both ways");
	close_pair(&p);
}

static void a_bad_descriptor_is_refused(void)
{
	struct loop_source source = LOOP_SOURCE_NONE;

	is_int(loop_add(&loop, &source, 9999, EPOLLIN, free_myself), -EBADF,
	       "a closed descriptor cannot be watched");
	is_int(source.fd, -1, "and leaves the source idle");
}

int main(void)
{
	struct error err;

	is_int(loop_init(&loop, &err), 0, "a loop is made");
	a_removed_source_is_not_called();
	a_source_may_free_itself();
	timers_fire_in_order();
	a_timer_may_cancel_another();
	arming_again_moves_the_deadline();
	what_came_first_is_heard_first();
	events_can_be_changed();
	a_bad_descriptor_is_refused();
	loop_fini(&loop);
	return done_testing();
}
