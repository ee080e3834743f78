#include "vmctl/net/ender.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

struct ending {
	struct link link;
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
	for (;;) {
		struct ending *ending = next(data);

		slot_destroy(&ending->made);
		free(ending);
	}
	return NULL;
}

int ender_start(struct ender *ender, struct error *err)
{
	sigset_t all, before;
	pthread_t id;
	int r;

	*ender = (struct ender){.lock = PTHREAD_MUTEX_INITIALIZER,
				.more = PTHREAD_COND_INITIALIZER};
	list_init(&ender->queue);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&id, NULL, run, ender);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return error_set(err, r, "cannot start what destroys slots");
	pthread_detach(id);
	return 0;
}

int ender_add(struct ender *ender, struct slot_made *made)
{
	struct ending *ending = malloc(sizeof(*ending));

	if (!ending)
		return -ENOMEM;
	ending->made = *made;
	list_init(&ending->link);
	*made = (struct slot_made){.tap = -1};
	pthread_mutex_lock(&ender->lock);
	list_add_before(&ender->queue, &ending->link);
	pthread_cond_signal(&ender->more);
	pthread_mutex_unlock(&ender->lock);
	return 0;
}
