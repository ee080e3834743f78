#include "vmctl/host_line.h"
#include "vmctl/host_relay.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define LINE_PIECE 4096u

static void watch_line(struct relay *relay)
{
	loop_mod(relay->loop, &relay->line.source,
		 EPOLLIN | (relay->line.out.len ? EPOLLOUT : 0u));
}

/*
 * Each call has a number of its own, so that the broker is not called by one that is still
 * on its way when another one has been answered.
 */
static int call(struct relay *relay)
{
	struct relay_line *line = &relay->line;

	if (getrandom(line->nonce, LINK_NONCE, 0) != LINK_NONCE)
		return -errno;
	line->answered = false;
	for (int i = 0; i < HOST_PORTS; i++)
		relay->ports[i].begun = false;
	loop_timer_set(relay->loop, &line->again, line->patience_ms);
	line->patience_ms *= 2;
	if (line_put(&line->out, line->nonce) < 0)
		return -ENOMEM;
	watch_line(relay);
	return 0;
}

static void on_again(struct loop_timer *timer)
{
	struct relay *relay = container_of(timer, struct relay, line.again);

	if (call(relay) < 0)
		relay->ops->on_lost(relay);
}

static void up_when_begun(struct relay *relay)
{
	for (int i = 0; i < HOST_PORTS; i++)
		if (!relay->ports[i].begun)
			return;
	if (!relay->line.answered || relay->up)
		return;
	loop_timer_cancel(&relay->line.again);
	relay_is_up(relay);
}

bool relay_begin(struct relay_port *port)
{
	port->begun = line_seek(&port->in, port->relay->line.nonce);
	if (port->begun)
		up_when_begun(port->relay);
	return port->begun;
}

/* Nothing but this is said on the ports before the relay is up. */
static int answer(struct relay *relay)
{
	relay->line.answered = true;
	for (int i = 0; i < HOST_PORTS; i++) {
		struct relay_port *port = &relay->ports[i];

		if (buf_append(&port->out, relay->line.nonce, LINK_NONCE) < 0)
			return -ENOMEM;
		relay_watch_port(port);
	}
	up_when_begun(relay);
	return 0;
}

static int read_line(struct relay *relay)
{
	struct relay_line *line = &relay->line;
	ssize_t n = buf_fill(&line->in, line->source.fd, LINE_PIECE);
	uint8_t nonce[LINK_NONCE];
	int r = 0;

	if (n <= 0)
		return n == -EAGAIN ? 0 : -EIO;
	while (r == 0 && line_take(&line->in, nonce))
		if (!line->answered && memcmp(nonce, line->nonce, LINK_NONCE) == 0)
			r = answer(relay);
	return r;
}

static void on_line(struct loop_source *source, uint32_t revents)
{
	struct relay *relay = container_of(source, struct relay, line.source);
	int r = 0;

	if (revents & EPOLLOUT)
		r = buf_flush(&relay->line.out, source->fd);
	if (r == 0 && revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
		r = read_line(relay);
	watch_line(relay);
	if (r < 0)
		relay->ops->on_lost(relay);
}

int relay_call(struct relay *relay, int fd)
{
	int r;

	relay->line = (struct relay_line){.patience_ms = RELAY_CALL_MS};
	loop_timer_init(&relay->line.again, on_again);
	r = loop_add(relay->loop, &relay->line.source, fd, EPOLLIN, on_line);
	return r < 0 ? r : call(relay);
}

void relay_line_fini(struct relay *relay)
{
	loop_timer_cancel(&relay->line.again);
	loop_del(relay->loop, &relay->line.source);
	buf_fini(&relay->line.in);
	buf_fini(&relay->line.out);
}
