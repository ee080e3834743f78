/*
 * Theory of operation
 *
 * A watch is for one event, after which the kernel has removed it. The server notes the
 * numbers of those it set in a ring; what falls out of it, and what is in it when the
 * epoch ends, is removed, which the agent reports as if something had changed. The ring
 * is in memory that outlives the server, and is used without a lock.
 *
 * To watch a directory again that is watched already gives the same number again.
 */
#include "guest/files/call.h"

#include <sys/inotify.h>

#define EVENTS                                                                             \
	(IN_ATTRIB | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MODIFY | IN_MOVE |        \
	 IN_MOVE_SELF | IN_CLOSE_WRITE)

static void replace(struct server *server, unsigned int at, int number)
{
	int old = atomic_exchange(&server->shared->recent[at % FILES_WATCHES], number);

	if (old > 0 && old != number)
		inotify_rm_watch(server->inotify, old);
}

void watch_directory(struct call *call, int fd)
{
	struct server *server = call->server;
	int number = inotify_add_watch(server->inotify, fd_name(fd).text,
				       EVENTS | IN_ONLYDIR | IN_ONESHOT | IN_EXCL_UNLINK);

	if (number < 0)
		return;
	replace(server, atomic_fetch_add(&server->shared->watches, 1), number);
	call->reply.watch = number;
}

void watches_drop(struct server *server)
{
	if (!atomic_load(&server->shared->watches))
		return;
	for (unsigned int i = 0; i < FILES_WATCHES; i++)
		replace(server, i, 0);
}
