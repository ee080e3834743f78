#include "vmctl/dns/ask.h"

#include "util/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define ATTEMPTS 2

struct ask {
	struct loop *loop;
	const struct upstreams *upstreams;
	const struct dns_question *question;
	bool tcp;
	unsigned attempt; /* of ATTEMPTS, from 1 on */
	uint16_t id;
	int fd;
	struct loop_source source;
	struct loop_timer timer; /* of the attempt */
	struct buf out, in;	 /* by TCP */
	ask_fn *done;
	void *ctx;
};

static void attempt(struct ask *ask);

static void hang_up(struct ask *ask)
{
	loop_del(ask->loop, &ask->source);
	if (ask->fd >= 0)
		close(ask->fd);
	ask->fd = -1;
	buf_fini(&ask->out);
	buf_fini(&ask->in);
}

void ask_cancel(struct ask *ask)
{
	if (!ask)
		return;
	hang_up(ask);
	loop_timer_cancel(&ask->timer);
	free(ask);
}

static void finish(struct ask *ask, const ldns_pkt *answer, const uint8_t *bytes,
		   size_t len)
{
	ask_fn *done = ask->done;
	void *ctx = ask->ctx;

	done(ctx, answer, bytes, len);
	ask_cancel(ask);
}

/* This attempt came to nothing. What is next is done from the loop. */
static void fail(struct ask *ask)
{
	hang_up(ask);
	loop_timer_set(ask->loop, &ask->timer, 0);
}

static void due(struct loop_timer *timer)
{
	struct ask *ask = container_of(timer, struct ask, timer);

	hang_up(ask);
	if (ask->attempt < ATTEMPTS)
		attempt(ask);
	else
		finish(ask, NULL, NULL, 0);
}

static bool failed(const ldns_pkt *answer)
{
	ldns_pkt_rcode rcode = ldns_pkt_get_rcode(answer);

	return rcode == LDNS_RCODE_SERVFAIL || rcode == LDNS_RCODE_REFUSED ||
	       rcode == LDNS_RCODE_NOTIMPL;
}

/* Return: false if this is not the answer; else the ask may be gone. */
static bool hear(struct ask *ask, const uint8_t *bytes, size_t len)
{
	ldns_pkt *answer = dns_answer_read(ask->question, ask->id, bytes, len);

	if (!answer)
		return false;
	if (failed(answer) && ask->attempt < ATTEMPTS)
		fail(ask);
	else
		finish(ask, answer, bytes, len);
	ldns_pkt_free(answer);
	return true;
}

static void udp_ready(struct loop_source *source, uint32_t revents)
{
	static uint8_t bytes[DNS_MESSAGE_MAX];
	struct ask *ask = container_of(source, struct ask, source);
	ssize_t n = recv(ask->fd, bytes, sizeof(bytes), 0);

	(void)revents;
	if (n >= 0)
		hear(ask, bytes, (size_t)n);
	else if (errno != EAGAIN && errno != EINTR)
		fail(ask);
}

static void tcp_hear(struct ask *ask)
{
	const uint8_t *bytes = buf_peek(&ask->in);
	size_t len = ask->in.len >= 2 ? (size_t)(bytes[0] << 8 | bytes[1]) : SIZE_MAX - 2;

	if (ask->in.len >= len + 2 && !hear(ask, bytes + 2, len))
		fail(ask);
}

static void tcp_ready(struct loop_source *source, uint32_t revents)
{
	struct ask *ask = container_of(source, struct ask, source);
	ssize_t n;
	int r;

	if (ask->out.len) {
		r = buf_flush(&ask->out, ask->fd);
		if (r < 0 && r != -EAGAIN)
			return fail(ask);
		loop_mod(ask->loop, source, ask->out.len ? EPOLLOUT : EPOLLIN);
	}
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	n = buf_fill(&ask->in, ask->fd, DNS_MESSAGE_MAX + 2);
	if (n > 0)
		tcp_hear(ask);
	else if (n != -EAGAIN)
		fail(ask);
}

/* #syscalls:dns,proxy socket(0==AF_INET) socket(0==AF_INET6) connect recvfrom */
static int connect_to(struct ask *ask, const struct upstream *to)
{
	int type = ask->tcp ? SOCK_STREAM : SOCK_DGRAM;

	ask->fd = socket(to->address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ask->fd < 0)
		return -errno;
	if (connect(ask->fd, (const struct sockaddr *)&to->address, to->len) < 0 &&
	    errno != EINPROGRESS)
		return -errno;
	return loop_add(ask->loop, &ask->source, ask->fd, ask->tcp ? EPOLLOUT : EPOLLIN,
			ask->tcp ? tcp_ready : udp_ready);
}

static int send_query(struct ask *ask)
{
	size_t len;
	cleanup_free uint8_t *query = NULL;
	uint16_t prefix;

	if (getrandom(&ask->id, sizeof(ask->id), 0) != sizeof(ask->id))
		return -EIO;
	query = dns_query(ask->question, ask->id, &len);
	if (!query)
		return -ENOMEM;
	if (!ask->tcp)
		return send(ask->fd, query, len, MSG_NOSIGNAL) < 0 ? -errno : 0;
	prefix = htons((uint16_t)len);
	if (buf_append(&ask->out, &prefix, sizeof(prefix)) < 0)
		return -ENOMEM;
	return buf_append(&ask->out, query, len);
}

static void attempt(struct ask *ask)
{
	const struct upstream_list *now = upstreams_now(ask->upstreams);
	unsigned i = ask->attempt++;

	loop_timer_set(ask->loop, &ask->timer, i ? ASK_SECOND_MS : ASK_FIRST_MS);
	if (!now->count)
		return; /* they are told of soon: the next attempt sees */
	if (connect_to(ask, &now->list[i % now->count]) < 0 || send_query(ask) < 0)
		fail(ask);
}

struct ask *ask_begin(struct loop *loop, const struct upstreams *upstreams,
		      const struct dns_question *question, bool tcp, ask_fn *done,
		      void *ctx)
{
	struct ask *ask = malloc(sizeof(*ask));

	if (!ask)
		return NULL;
	*ask = (struct ask){.loop = loop,
			    .upstreams = upstreams,
			    .question = question,
			    .tcp = tcp,
			    .fd = -1,
			    .source = LOOP_SOURCE_NONE,
			    .done = done,
			    .ctx = ctx};
	loop_timer_init(&ask->timer, due);
	attempt(ask);
	return ask;
}
