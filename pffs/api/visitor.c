#include "pffs/api/visitor.h"

#include "pffs/api/server.h"

#include <stdlib.h>
#include <sys/socket.h>

#define HEAD_MS 75000u /* for the headers, and for what is to be thrown away */

static void too_slow(struct loop_timer *timer)
{
	const struct visitor *visitor = container_of(timer, struct visitor, deadline);

	shutdown(visitor->fd, SHUT_RDWR);
}

static void begin(struct server *server, struct MHD_Connection *connection, void **ctx)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct visitor *visitor = malloc(sizeof(*visitor));
	const int on = 1;

	*ctx = visitor;
	if (!visitor)
		return;
	*visitor = (struct visitor){.loop = server->loop, .fd = info->connect_fd};
	loop_timer_init(&visitor->deadline, too_slow);
	loop_timer_set(server->loop, &visitor->deadline, HEAD_MS);
	list_add_before(&server->visitors, &visitor->link);
	/* Of one whose machine has gone without a word we hear at last. */
	setsockopt(visitor->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static void end(void **ctx)
{
	struct visitor *visitor = *ctx;

	if (!visitor)
		return;
	loop_timer_cancel(&visitor->deadline);
	list_del(&visitor->link);
	free(visitor);
	*ctx = NULL;
}

void visitor_notify(void *cls, struct MHD_Connection *connection, void **ctx,
		    enum MHD_ConnectionNotificationCode code)
{
	const struct listener *listener = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		begin(listener->server, connection, ctx);
	else
		end(ctx);
}

struct visitor *visitor_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

void visitor_begins(struct MHD_Connection *connection)
{
	struct visitor *visitor = visitor_of(connection);

	if (visitor)
		loop_timer_cancel(&visitor->deadline);
}

void visitor_hears(struct MHD_Connection *connection)
{
	struct visitor *visitor = visitor_of(connection);

	if (visitor)
		loop_timer_set(visitor->loop, &visitor->deadline, HEAD_MS);
}

void visitor_waits(struct MHD_Connection *connection, bool waits)
{
	struct visitor *visitor = visitor_of(connection);

	MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT,
				  waits ? 0 : SERVER_IDLE_S);
	if (visitor && !waits)
		loop_timer_set(visitor->loop, &visitor->deadline, HEAD_MS);
}
