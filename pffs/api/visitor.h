/*
 * A connection: its socket, and how long it may take for a request's headers, for each MiB
 * of a body that is kept, and for all that is left of one that is not.
 */
#pragma once

#include "util/list.h"
#include "util/loop.h"

#include <microhttpd.h>

struct visitor {
	struct link link; /* on server->visitors */
	struct loop *loop;
	struct loop_timer deadline; /* until there is a request that may be answered */
	int fd;			    /* libmicrohttpd's */
};

/** visitor_notify() - libmicrohttpd tells of a connection's beginning and end. */
void visitor_notify(void *cls, struct MHD_Connection *connection, void **ctx,
		    enum MHD_ConnectionNotificationCode code);

/** visitor_of() - Return: it, or NULL when there was no memory. */
struct visitor *visitor_of(struct MHD_Connection *connection);

/** visitor_begins() - it has a request that may be answered, however long that takes. */
void visitor_begins(struct MHD_Connection *connection);

/** visitor_hears() - it has as long as for the headers once more, for more of a body. */
void visitor_hears(struct MHD_Connection *connection);

/** visitor_waits() - it waits for our answer, as long as that takes; or not any more. */
void visitor_waits(struct MHD_Connection *connection, bool waits);
