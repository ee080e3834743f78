/* libcurl in our loop: each of its sockets is a source, its timeout a timer. */
#include "vmctl/proxy/fetch.h"
#include "vmctl/proxy/proxy.h"

#include <errno.h>
#include <stdlib.h>

struct watched {
	struct proxy *proxy;
	struct loop_source source;
};

static void reap(struct proxy *proxy)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(proxy->multi, &left))) {
		struct fetch *fetch = NULL;
		CURLcode code = message->data.result;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &fetch);
		if (message->msg == CURLMSG_DONE && fetch)
			fetch_ended(fetch, code);
	}
}

static void ready(struct loop_source *source, uint32_t revents)
{
	struct watched *watched = container_of(source, struct watched, source);
	struct proxy *proxy = watched->proxy;
	int what = 0, running;

	if (revents & EPOLLIN)
		what |= CURL_CSELECT_IN;
	if (revents & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (revents & (EPOLLERR | EPOLLHUP))
		what |= CURL_CSELECT_ERR;
	curl_multi_socket_action(proxy->multi, source->fd, what, &running);
	reap(proxy);
}

static void due(struct loop_timer *timer)
{
	struct proxy *proxy = container_of(timer, struct proxy, multi_timer);
	int running;

	curl_multi_socket_action(proxy->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(proxy);
}

static int set_timer(CURLM *multi, long ms, void *ctx)
{
	struct proxy *proxy = ctx;

	(void)multi;
	if (ms < 0)
		loop_timer_cancel(&proxy->multi_timer);
	else
		loop_timer_set(&proxy->loop, &proxy->multi_timer, (uint64_t)ms);
	return 0;
}

static int watch(struct proxy *proxy, curl_socket_t fd, uint32_t events)
{
	struct watched *watched = malloc(sizeof(*watched));

	if (!watched)
		return -1;
	watched->proxy = proxy;
	if (loop_add(&proxy->loop, &watched->source, fd, events, ready) < 0) {
		free(watched);
		return -1;
	}
	curl_multi_assign(proxy->multi, fd, watched);
	return 0;
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	struct proxy *proxy = ctx;
	struct watched *watched = socket_ctx;
	uint32_t events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watched)
			loop_del(&proxy->loop, &watched->source);
		free(watched);
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	if (!watched)
		return watch(proxy, fd, events);
	loop_mod(&proxy->loop, &watched->source, events);
	return 0;
}

/*
 * libcurl's poll(2) goes on as another call after the process was stopped.
 *
 * #syscalls:proxy poll restart_syscall getpid
 */
int multi_open(struct proxy *proxy)
{
	loop_timer_init(&proxy->multi_timer, due);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return -ENOMEM;
	proxy->multi = curl_multi_init();
	if (!proxy->multi)
		return -ENOMEM;
	curl_multi_setopt(proxy->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(proxy->multi, CURLMOPT_SOCKETDATA, proxy);
	curl_multi_setopt(proxy->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(proxy->multi, CURLMOPT_TIMERDATA, proxy);
	return 0;
}
