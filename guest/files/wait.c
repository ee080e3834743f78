/*
 * Theory of operation
 *
 * A lock that another holds is waited for in a thread of its own, so that those who serve
 * requests are never short. To end a wait is to interrupt the system call by a signal. A
 * signal that comes just before the call is lost, so it is sent until the thread says that
 * it has ended.
 *
 * A request to cancel can come while the one that it is about is still on its way to
 * here: then the call is marked, and does not begin to wait.
 */
#include "guest/files/wait.h"

#include "guest/files/lock.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define STACK	     (64u << 10)
#define SIGNAL_NSECS 2000000 /* between two */

struct wait {
	struct link link;
	struct server *server;
	pthread_t thread;
	uint32_t stream;
	uint16_t epoch;
	bool cancelled;
	struct lock_request lock;
};

static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void on_signal(int number)
{
	(void)number;
}

void waits_init(struct server *server)
{
	const struct sigaction action = {.sa_handler = on_signal};

	list_init(&server->waits);
	sigaction(SIGUSR1, &action, NULL); /* without SA_RESTART */
}

static bool is_cancelled(struct wait *wait)
{
	bool cancelled;

	pthread_mutex_lock(&wait->server->lock);
	cancelled = wait->cancelled;
	pthread_mutex_unlock(&wait->server->lock);
	return cancelled;
}

/* Give the answer. Only then is the wait gone for those who end it. */
static void finish(struct wait *wait, int r)
{
	struct files_reply reply = {.watch = -1};

	if (r == 0 && is_cancelled(wait)) {
		lock_undo(&wait->lock);
		r = -EINTR;
	}
	r = lock_settle(wait->server, &wait->lock, r);
	lock_request_fini(wait->server, &wait->lock);
	reply.error = -r;
	server_reply(wait->epoch, wait->stream, &reply);
	pthread_mutex_lock(&wait->server->lock);
	list_del(&wait->link);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&wait->server->lock);
	free(wait);
}

static void *wait_thread(void *arg)
{
	struct wait *wait = arg;
	int r;

	do
		r = is_cancelled(wait) ? -EINTR : lock_take(&wait->lock, true);
	while (r == -EINTR && !is_cancelled(wait));
	finish(wait, r);
	return NULL;
}

static int start(struct wait *wait)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	r = pthread_create(&wait->thread, &attr, wait_thread, wait);
	pthread_attr_destroy(&attr);
	return -r;
}

int wait_begin(struct call *call, const struct lock_request *lock)
{
	struct server *server = call->server;
	struct wait *wait = malloc(sizeof(*wait));
	int r;

	if (!wait)
		return -ENOMEM;
	*wait = (struct wait){
	    .server = server,
	    .stream = call->stream,
	    .epoch = call->epoch,
	    .lock = *lock,
	};
	/* The thread looks at its wait only when we have let go of the lock. */
	pthread_mutex_lock(&server->lock);
	r = call->cancelled || call->epoch != server->epoch ? -EINTR : start(wait);
	if (r == 0)
		list_add_before(&server->waits, &wait->link);
	pthread_mutex_unlock(&server->lock);
	if (r < 0)
		free(wait);
	return r;
}

/* The first wait that is @stream's, or for 0 that is of another epoch. */
static struct wait *find(struct server *server, uint32_t stream)
{
	struct wait *wait;

	list_for_each (wait, &server->waits, struct wait, link)
		if (stream ? wait->stream == stream : wait->epoch != server->epoch)
			return wait;
	return NULL;
}

/* The server's lock is held. The clock of the day may be set meanwhile: not by that. */
static void interrupt(struct server *server, uint32_t stream)
{
	struct timespec until;
	struct wait *wait;

	while ((wait = find(server, stream))) {
		wait->cancelled = true;
		pthread_kill(wait->thread, SIGUSR1);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += SIGNAL_NSECS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_clockwait(&changed, &server->lock, CLOCK_MONOTONIC, &until);
	}
}

void wait_cancel(struct server *server, uint32_t stream)
{
	struct call *call;

	if (!stream)
		return;
	pthread_mutex_lock(&server->lock);
	list_for_each (call, &server->calls, struct call, link)
		if (call->stream == stream)
			call->cancelled = true;
	interrupt(server, stream);
	pthread_mutex_unlock(&server->lock);
}

void waits_drop(struct server *server)
{
	pthread_mutex_lock(&server->lock);
	interrupt(server, 0);
	pthread_mutex_unlock(&server->lock);
}
