/*
 * Theory of operation
 *
 * A watch is for one event, after which the kernel has removed it. The server notes the
 * numbers of those it set in a ring; what falls out of it, and what is in it when the
 * epoch ends, is removed, which the agent reports as if something had changed. The ring
 * is in memory that outlives the server. To watch a directory again that is watched
 * already gives the same number again.
 *
 * A window is open on a directory while a request changes a name in it. The watch then
 * survives events, and a note tells the agent which of them are the request's own
 * (guest/files/note.h): all others are told as ever, and are the watch's end. When the
 * last window closes, the watch is for one event again, of which the kernel also says
 * that the watch has gone: that is always told, whatever the agent takes the event for.
 *
 * Notes stay until the reply has passed the agent, and so may linger when the change is
 * over, while the watch survives events for the sake of other windows. Then a mark in the
 * queue of events ends them: a watch that is set and removed at once, of which the kernel
 * says that it has gone. That is done when a window closes that is not the last, and
 * before one opens. (When the notes have gone meanwhile, the host is told the number of a
 * watch that it does not know.) The reply's attributes are read behind all this (settle.c):
 * so what somebody else changes is either in the reply, or told.
 */
#include "guest/files/call.h"

#include <sys/inotify.h>

#define EVENTS                                                                             \
	(IN_ATTRIB | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MODIFY | IN_MOVE |        \
	 IN_MOVE_SELF | IN_CLOSE_WRITE | IN_ONLYDIR | IN_EXCL_UNLINK)

void watches_init(struct server *server)
{
	pthread_mutex_init(&server->watching, NULL);
}

static int add(const struct server *server, int fd, uint32_t how)
{
	return inotify_add_watch(server->inotify, fd_name(fd).text, EVENTS | how);
}

static void replace(struct server *server, unsigned int at, int number)
{
	int old = atomic_exchange(&server->shared->recent[at % FILES_WATCHES], number);

	if (old > 0 && old != number)
		inotify_rm_watch(server->inotify, old);
}

/* Numbers grow. */
static int remember(struct server *server, int number)
{
	if (number <= atomic_load(&server->shared->newest))
		return number;
	atomic_store(&server->shared->newest, number);
	replace(server, atomic_fetch_add(&server->shared->watches, 1), number);
	return number;
}

/* For 0: an entry that is free. */
static struct opened *find(struct server *server, int number)
{
	for (int i = 0; i < WINDOWS_MAX; i++)
		if (server->opened[i].watch == number)
			return &server->opened[i];
	return NULL;
}

/* Watch for one event, unless a window is open. With IN_MASK_ADD the kernel leaves the
 * watch as it is, so that the first call only asks for its number. */
static int arm(struct server *server, int fd)
{
	int number = server->windows ? add(server, fd, IN_MASK_ADD) : 0;

	if (number <= 0 || !find(server, number))
		number = add(server, fd, IN_ONESHOT);
	return remember(server, number);
}

int watch_directory(struct server *server, int fd)
{
	int number;

	pthread_mutex_lock(&server->watching);
	number = arm(server, fd);
	pthread_mutex_unlock(&server->watching);
	return number < 0 ? -1 : number;
}

/* Return: 0, or -1 when notes linger that could not be ended. */
static int end_notes(struct server *server, int watch)
{
	int mark;

	if (!notes_linger(server->shared->notes, watch))
		return 0;
	mark = inotify_add_watch(server->inotify, ".", IN_DELETE_SELF);
	if (mark < 0)
		return -1;
	notes_mark(server->shared->notes, watch, mark);
	inotify_rm_watch(server->inotify, mark);
	return 0;
}

/* Return: the number of a watch that survives events, or -1. */
static int begin(struct server *server, int fd)
{
	int number =
	    notes_linger(server->shared->notes, 0) ? add(server, fd, IN_MASK_ADD) : 0;

	if (number < 0 || (number && end_notes(server, number) < 0))
		return -1;
	return remember(server, add(server, fd, 0));
}

static void open_one(struct call *call, struct place *place, uint32_t events)
{
	struct server *server = call->server;
	int number = begin(server, place->dir);
	struct opened *opened = number < 0 ? NULL : find(server, number);

	if (number < 0)
		return;
	if (!opened) {
		opened = find(server, 0);
		opened->watch = number;
	}
	opened->count++;
	server->windows++;
	place->opened = opened;
	place->watch = number;
	place->note =
	    note_add(server->shared->notes, call->stream, number, events, place->name);
}

void windows_open(struct call *call, uint32_t events)
{
	pthread_mutex_lock(&call->server->watching);
	for (struct place *p = call->places; p < call->places + PLACES; p++)
		if (p->dir >= 0)
			open_one(call, p, events);
	pthread_mutex_unlock(&call->server->watching);
}

static void close_one(struct call *call, struct place *place)
{
	struct opened *opened = place->opened;

	place->opened = NULL;
	if (place->note)
		atomic_store(&place->note->closed, true);
	if (opened->count) {
		if (end_notes(call->server, opened->watch) < 0)
			place->watch = -1;
		return;
	}
	opened->watch = 0;
	place->watch = arm(call->server, place->dir);
}

void windows_close(struct call *call)
{
	struct place *end = call->places + PLACES;

	pthread_mutex_lock(&call->server->watching);
	for (struct place *p = call->places; p < end; p++)
		if (p->opened) {
			p->opened->count--;
			call->server->windows--;
		}
	for (struct place *p = call->places; p < end; p++)
		if (p->opened)
			close_one(call, p);
	pthread_mutex_unlock(&call->server->watching);
}

void watches_drop(struct server *server)
{
	if (!atomic_load(&server->shared->watches))
		return;
	pthread_mutex_lock(&server->watching);
	for (unsigned int i = 0; i < FILES_WATCHES; i++)
		replace(server, i, 0);
	pthread_mutex_unlock(&server->watching);
}
