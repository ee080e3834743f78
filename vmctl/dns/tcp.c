/*
 * Questions by TCP (RFC 7766): one after another on a connection, each with its length in
 * front. Nothing is read while a question is in flight, or its answer not taken: who asks
 * and does not listen fills its own socket.
 */
#include "util/cleanup.h"
#include "vmctl/dns/query.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct connection {
	struct link link; /* on its slot's */
	struct dns *dns;
	struct dns_slot *slot;
	struct loop_source source;
	struct loop_timer idle;
	struct query query;
	bool asking, ending;
	struct buf in, out;
};

static void hang_up(struct connection *connection)
{
	int fd = connection->source.fd;

	query_cancel(&connection->query);
	loop_timer_cancel(&connection->idle);
	loop_del(&connection->dns->loop, &connection->source);
	close(fd);
	list_del(&connection->link);
	connection->dns->connection_count--;
	connection->slot->connection_count--;
	buf_fini(&connection->in);
	buf_fini(&connection->out);
	free(connection);
}

static void idle(struct loop_timer *timer)
{
	hang_up(container_of(timer, struct connection, idle));
}

/* Return: bytes of the question that has come whole, 0: it has not. */
static size_t question_len(const struct connection *connection)
{
	const uint8_t *bytes = buf_peek(&connection->in);
	size_t len = connection->in.len >= 2 ? (size_t)(bytes[0] << 8 | bytes[1]) : 0;

	return len && connection->in.len >= len + 2 ? len : 0;
}

/* One that is longer than any question is, or empty. */
static bool is_hopeless(const struct connection *connection)
{
	const uint8_t *bytes = buf_peek(&connection->in);
	size_t len = connection->in.len >= 2 ? (size_t)(bytes[0] << 8 | bytes[1]) : 1;

	return !len || len > DNS_QUESTION_MAX;
}

/* What is next is done from the loop, since who calls may be in the midst of it. */
static void watch(struct connection *connection)
{
	uint32_t events = connection->asking ? 0 : EPOLLIN;

	if (connection->out.len || connection->ending)
		events = EPOLLOUT;
	loop_mod(&connection->dns->loop, &connection->source, events);
}

static void answered(struct query *query, const uint8_t *bytes, size_t len)
{
	struct connection *connection = container_of(query, struct connection, query);
	uint16_t prefix = htons((uint16_t)len);

	connection->asking = false;
	connection->ending = !bytes || len > DNS_MESSAGE_MAX ||
			     buf_append(&connection->out, &prefix, sizeof(prefix)) < 0 ||
			     buf_append(&connection->out, bytes, len) < 0;
	watch(connection);
}

static void ask(struct connection *connection)
{
	size_t len = question_len(connection);
	uint8_t question[DNS_QUESTION_MAX];

	if (!len || connection->asking || connection->out.len || len > sizeof(question))
		return;
	buf_consume(&connection->in, 2);
	memcpy(question, buf_peek(&connection->in), len);
	buf_consume(&connection->in, len);
	loop_timer_set(&connection->dns->loop, &connection->idle, DNS_IDLE_MS);
	connection->asking = true;
	query_begin(&connection->query, connection->dns, connection->slot, true, question,
		    len);
}

/* Return: whether the connection goes on. */
static bool move_bytes(struct connection *connection, uint32_t revents)
{
	int fd = connection->source.fd, r = buf_flush(&connection->out, fd);
	ssize_t n;

	if (connection->ending || (r < 0 && r != -EAGAIN) ||
	    (revents & (EPOLLHUP | EPOLLERR)))
		return false;
	if (!(revents & EPOLLIN))
		return true;
	n = buf_fill(&connection->in, fd, DNS_QUESTION_MAX);
	return (n > 0 || n == -EAGAIN) && !is_hopeless(connection);
}

static void ready(struct loop_source *source, uint32_t revents)
{
	struct connection *connection = container_of(source, struct connection, source);

	if (!move_bytes(connection, revents))
		return hang_up(connection);
	ask(connection);
	watch(connection);
}

static bool may_connect(const struct dns *dns, const struct dns_slot *slot)
{
	return slot->connection_count < DNS_CONNECTIONS &&
	       dns->connection_count < DNS_CONNECTION_ALL;
}

static void welcome(struct dns *dns, struct dns_slot *slot, int *fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return;
	connection->dns = dns;
	connection->slot = slot;
	connection->query.done = answered;
	if (loop_add(&dns->loop, &connection->source, *fd, EPOLLIN, ready) < 0)
		return free(connection);
	steal_fd(fd);
	list_add_before(&slot->connections, &connection->link);
	slot->connection_count++;
	dns->connection_count++;
	loop_timer_init(&connection->idle, idle);
	loop_timer_set(&dns->loop, &connection->idle, DNS_IDLE_MS);
}

/* #syscalls:dns,proxy accept4 read */
static void come(struct loop_source *source, uint32_t revents)
{
	struct dns *dns = container_of(source, struct dns, tcp);
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	cleanup_close int fd = accept4(source->fd, (struct sockaddr *)&from, &len,
				       SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct slot *slot;

	(void)revents;
	if (fd < 0)
		return;
	net_channel_read(&dns->channel);
	slot = slots_of_address(&dns->slots, (const struct sockaddr *)&from);
	if (slot && may_connect(dns, container_of(slot, struct dns_slot, slot)))
		welcome(dns, container_of(slot, struct dns_slot, slot), &fd);
}

int tcp_listen(struct dns *dns, int fd)
{
	return loop_add(&dns->loop, &dns->tcp, fd, EPOLLIN, come);
}

void tcp_drop(struct dns_slot *slot)
{
	while (!list_empty(&slot->connections))
		hang_up(container_of(slot->connections.next, struct connection, link));
}
