/* libmicrohttpd in our loop: its epoll descriptor is a source, its timeout a timer. */
#include "vmctl/proxy/exchange.h"
#include "vmctl/proxy/visit.h"

#include <errno.h>
#include <string.h>

static void run(struct proxy *proxy)
{
	MHD_UNSIGNED_LONG_LONG ms;

	net_channel_read(&proxy->channel); /* what was told before counts now */
	MHD_run(proxy->daemon);
	if (MHD_get_timeout(proxy->daemon, &ms) == MHD_YES)
		loop_timer_set(&proxy->loop, &proxy->server_timer, ms);
	else
		loop_timer_cancel(&proxy->server_timer);
}

static void ready(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	run(container_of(source, struct proxy, server));
}

static void due(struct loop_timer *timer)
{
	run(container_of(timer, struct proxy, server_timer));
}

void server_run_soon(struct proxy *proxy)
{
	loop_timer_set(&proxy->loop, &proxy->server_timer, 0);
}

/* A path is passed on as it is written. */
static size_t leave(void *cls, struct MHD_Connection *connection, char *text)
{
	(void)cls;
	(void)connection;
	return strlen(text);
}

static void say_nothing(void *cls, const char *format, va_list list)
{
	(void)cls;
	(void)format;
	(void)list;
}

/*
 * What libmicrohttpd and GnuTLS do with connections. They look for files, which are not
 * there.
 *
 * #syscalls:proxy epoll_create1 eventfd2 fcntl getpeername getsockname getsockopt
 * setsockopt sendmsg shutdown openat=ENOENT newfstatat=ENOENT access=ENOENT
 */
int server_open(struct proxy *proxy, int fd, struct error *err)
{
	const union MHD_DaemonInfo *info;

	loop_timer_init(&proxy->server_timer, due);
	proxy->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_USE_TLS | MHD_ALLOW_SUSPEND_RESUME, 0, visit_may, proxy,
	    exchange_step, proxy, MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_HTTPS_CERT_CALLBACK, visit_certificate,
	    MHD_OPTION_HTTPS_PRIORITIES, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2",
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)PROXY_CONNECTION_ROOM,
	    MHD_OPTION_CONNECTION_LIMIT, PROXY_CONNECTIONS,
	    MHD_OPTION_PER_IP_CONNECTION_LIMIT, PROXY_CONNECTIONS_OF,
	    MHD_OPTION_CONNECTION_TIMEOUT, PROXY_IDLE_S, MHD_OPTION_NOTIFY_COMPLETED,
	    exchange_completed, proxy, MHD_OPTION_NOTIFY_CONNECTION, visit_notify, proxy,
	    MHD_OPTION_URI_LOG_CALLBACK, exchange_uri, proxy, MHD_OPTION_UNESCAPE_CALLBACK,
	    leave, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP,
	    1, MHD_OPTION_END);
	if (!proxy->daemon)
		return error_say(err, EIO, "cannot serve by HTTPS");
	info = MHD_get_daemon_info(proxy->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info ||
	    loop_add(&proxy->loop, &proxy->server, info->epoll_fd, EPOLLIN, ready) < 0)
		return error_say(err, EIO, "cannot watch the server");
	return 0;
}
