#include "vmctl/net/ender.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

struct ending {
	struct link link;
	unsigned number;
	struct slot_made made;
};

static struct ending *next(struct ender *ender)
{
	struct ending *ending;

	pthread_mutex_lock(&ender->lock);
	while (list_empty(&ender->queue))
		pthread_cond_wait(&ender->more, &ender->lock);
	ending = container_of(ender->queue.next, struct ending, link);
	list_del(&ending->link);
	pthread_mutex_unlock(&ender->lock);
	return ending;
}

static void *run(void *data)
{
	struct ender_thread *thread = data;

	for (;;) {
		struct ending *ending = next(thread->ender);

		slot_destroy(ending->number, &thread->hub, &ending->made);
		free(ending);
	}
	return NULL;
}

static int start(struct ender_thread *thread, struct error *err)
{
	pthread_t id;
	int r = rt_open(&thread->hub, err);

	if (r < 0)
		return r;
	r = pthread_create(&id, NULL, run, thread);
	if (r)
		return error_set(err, r, "cannot start what destroys slots");
	pthread_detach(id);
	return 0;
}

int ender_start(struct ender *ender, struct error *err)
{
	sigset_t all, before;
	int r = 0;

	*ender = (struct ender){.lock = PTHREAD_MUTEX_INITIALIZER,
				.more = PTHREAD_COND_INITIALIZER};
	list_init(&ender->queue);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned i = 0; i < ENDER_THREADS && r == 0; i++) {
		ender->threads[i].ender = ender;
		r = start(&ender->threads[i], err);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

int ender_add(struct ender *ender, unsigned number, struct slot_made *made)
{
	struct ending *ending = malloc(sizeof(*ending));

	if (!ending)
		return -ENOMEM;
	*ending = (struct ending){.number = number, .made = *made};
	list_init(&ending->link);
	*made = (struct slot_made){.tap = -1};
	pthread_mutex_lock(&ender->lock);
	list_add_before(&ender->queue, &ending->link);
	pthread_cond_signal(&ender->more);
	pthread_mutex_unlock(&ender->lock);
	return 0;
}
