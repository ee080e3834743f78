#include "pffs/api/server.h"

#include "pffs/api/listen.h"
#include "pffs/api/request.h"
#include "pffs/api/visitor.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECTION_MEMORY (128u << 10) /* headers, and pieces of bodies */
#define LAST_RUNS	  64	       /* what can be sent at the end is */

static void run(struct listener *listener)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(listener->daemon);
	if (MHD_get_timeout(listener->daemon, &ms) == MHD_YES)
		loop_timer_set(listener->server->loop, &listener->timer, ms);
	else
		loop_timer_cancel(&listener->timer);
}

static void ready(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	run(container_of(source, struct listener, source));
}

static void due(struct loop_timer *timer)
{
	run(container_of(timer, struct listener, timer));
}

void listener_run_soon(struct listener *listener)
{
	loop_timer_set(listener->server->loop, &listener->timer, 0);
}

/* What is in a path or a query is ours to decode. */
static size_t leave(void *cls, struct MHD_Connection *connection, char *text)
{
	(void)cls;
	(void)connection;
	return strlen(text);
}

static int begin(struct listener *listener, struct error *err)
{
	const union MHD_DaemonInfo *info;

	listener->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, request_step, listener,
	    MHD_OPTION_LISTEN_SOCKET, listener->fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_LIMIT, SERVER_CONNECTIONS,
	    MHD_OPTION_CONNECTION_TIMEOUT, SERVER_IDLE_S, MHD_OPTION_NOTIFY_COMPLETED,
	    request_completed, listener, MHD_OPTION_NOTIFY_CONNECTION, visitor_notify,
	    listener, MHD_OPTION_URI_LOG_CALLBACK, request_uri, listener,
	    MHD_OPTION_UNESCAPE_CALLBACK, leave, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
	    MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (!listener->daemon)
		return error_set(err, EIO, "cannot serve %s", listener->address);
	listener->fd = -1; /* the daemon's */
	info = MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || loop_add(listener->server->loop, &listener->source, info->epoll_fd,
			      EPOLLIN, ready) < 0)
		return error_set(err, EIO, "cannot watch %s", listener->address);
	return 0;
}

static int add_listener(struct server *server, const char *address, bool local,
			struct error *err)
{
	struct listener *listener = &server->listeners[server->count++];
	char *where;

	*listener = (struct listener){
	    .server = server, .source = LOOP_SOURCE_NONE, .fd = -1, .local = local};
	loop_timer_init(&listener->timer, due);
	listener->fd = local ? listen_unix(listener, address, err)
			     : listen_tcp(listener, address, err);
	if (listener->fd < 0)
		return err->code;
	if (!local && !listener->loopback && !server->auth.count)
		return error_say(
		    err, EACCES,
		    "%s is for other machines, too: without keys "
		    "(PFFS_API_KEYS, or --keys FILE) pffs does not listen there",
		    listener->address);
	if (asprintf(&where, "%s%s %s\n", server->where ? server->where : "",
		     local ? "api" : "http", listener->address) < 0)
		return error_set(err, ENOMEM, "cannot listen");
	free(server->where);
	server->where = where;
	return 0;
}

int server_listen(struct server *server, struct loop *loop, struct core *core,
		  const struct server_options *options, struct error *err)
{
	int r;

	*server = (struct server){.loop = loop, .core = core};
	list_init(&server->requests);
	list_init(&server->visitors);
	list_init(&server->sessions);
	server->listeners = calloc(options->address_count + 1, sizeof(*server->listeners));
	if (!server->listeners)
		return error_set(err, ENOMEM, "cannot listen");
	r = auth_init(&server->auth, options->keys_file, err);
	if (r == 0 && options->socket)
		r = add_listener(server, options->socket, true, err);
	for (unsigned i = 0; r == 0 && i < options->address_count; i++)
		r = add_listener(server, options->addresses[i], false, err);
	return r;
}

int server_begin(struct server *server, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < server->count; i++)
		r = begin(&server->listeners[i], err);
	return r;
}

/* Everybody is told what there is to tell, as far as he takes it without waiting. */
static void send_last(struct server *server)
{
	struct request *r;

	server->ending = true;
	list_for_each (r, &server->requests, struct request, link)
		if (r->read)
			request_wake(r);
		else if (!r->response)
			request_break(r);
	for (unsigned n = 0; n < LAST_RUNS; n++)
		for (unsigned i = 0; i < server->count; i++)
			if (server->listeners[i].daemon)
				MHD_run(server->listeners[i].daemon);
}

void server_fini(struct server *server)
{
	struct request *r;

	if (!server->loop)
		return;
	send_last(server);
	list_for_each (r, &server->requests, struct request, link)
		request_break(r);
	for (unsigned i = 0; i < server->count; i++) {
		struct listener *listener = &server->listeners[i];

		loop_del(server->loop, &listener->source);
		loop_timer_cancel(&listener->timer);
		if (listener->daemon)
			MHD_stop_daemon(listener->daemon);
		else if (listener->fd >= 0)
			close(listener->fd);
	}
	pty_fini(server);
	auth_fini(&server->auth);
	free(server->listeners);
	free(server->where);
	*server = (struct server){0};
}
