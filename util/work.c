#include "util/work.h"

#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *thread(void *arg)
{
	struct work *work = arg;
	const uint64_t one = 1;
	/* The work may be gone as soon as this is written. */
	int fd = work->source.fd;

	work->run(work);
	while (write(fd, &one, sizeof(one)) < 0)
		;
	return NULL;
}

static void has_run(struct loop_source *source, uint32_t revents)
{
	struct work *work = container_of(source, struct work, source);
	int fd = source->fd;

	(void)revents;
	pthread_join(work->thread, NULL);
	loop_del(work->loop, source);
	close(fd);
	work->done(work);
}

/* Signals are for the thread that has the loop. Return: whether there is one more. */
static bool start(struct work *work)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	r = pthread_create(&work->thread, NULL, thread, work);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r == 0;
}

void work_begin(struct loop *loop, struct work *work, void (*run)(struct work *work),
		void (*done)(struct work *work))
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	*work = (struct work){
	    .loop = loop, .source = LOOP_SOURCE_NONE, .run = run, .done = done};
	if (fd >= 0 && loop_add(loop, &work->source, fd, EPOLLIN, has_run) == 0 &&
	    start(work))
		return;
	loop_del(loop, &work->source);
	if (fd >= 0)
		close(fd);
	run(work);
	done(work);
}
