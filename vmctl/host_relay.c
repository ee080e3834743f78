#include "vmctl/host_relay.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RELAY_PIECE (64u << 10) /* bytes read at a time */

struct relay_client {
	struct link link;
	struct relay *relay;
	struct loop_source source;
	struct relay_port *port; /* NULL: not bound yet */
	struct buf in, out;
	bool held;    /* the first frame of `in` may not pass yet */
	bool closing; /* it has hung up; its descriptor is closed */
};

void relay_watch_port(struct relay_port *port)
{
	const struct relay_client *client = port->client;
	uint32_t events = 0;

	if (!client || client->out.len < RELAY_BUSY)
		events |= EPOLLIN;
	if (port->out.len)
		events |= EPOLLOUT;
	loop_mod(port->relay->loop, &port->source, events);
}

static void watch_client(struct relay_client *client)
{
	const struct relay_port *port = client->port;
	uint32_t events = 0;

	if (client->closing)
		return;
	if (port ? port->out.len < RELAY_BUSY && !client->held
		 : client->in.len < RELAY_PIECE)
		events |= EPOLLIN;
	if (client->out.len)
		events |= EPOLLOUT;
	loop_mod(client->relay->loop, &client->source, events);
}

static void close_client(struct relay_client *client)
{
	int fd = client->source.fd;

	client->closing = true;
	loop_del(client->relay->loop, &client->source);
	close(fd);
}

static void free_client(struct relay_client *client)
{
	if (!client->port)
		client->relay->waiting--;
	list_del(&client->link);
	if (!client->closing) {
		buf_flush(&client->out, client->source.fd);
		close_client(client);
	}
	buf_fini(&client->in);
	buf_fini(&client->out);
	free(client);
}

/* End a client. Its port is free for the next one at once. */
static void drop_client(struct relay_client *client)
{
	struct relay_port *port = client->port;

	free_client(client);
	if (!port)
		return;
	port->client = NULL;
	port->open = false;
	if (link_put(&port->out, 0, LINK_BYE, NULL, 0) < 0)
		port->relay->ops->on_lost(port->relay);
	relay_watch_port(port);
	loop_timer_set(port->relay->loop, &port->relay->bind, 0);
}

/* Move the whole frames of a client that may pass to its port. Return: 0 or -errno. */
static int forward(struct relay_client *client)
{
	struct relay_port *port = client->port;
	struct relay *relay = client->relay;
	struct link_frame frame;
	int r;

	client->held = false;
	while ((r = link_next(&client->in, &frame, NULL)) > 0) {
		size_t size = link_frame_size(&frame);

		if (frame.type == LINK_DISKS || frame.type == LINK_TICK)
			return -EPROTO;
		client->held =
		    frame.type == LINK_CONTROL && !relay->ops->may_pass(relay, port);
		if (client->held)
			break;
		if (buf_append(&port->out, buf_peek(&client->in), size) < 0)
			return -ENOMEM;
		buf_consume(&client->in, size);
	}
	relay_watch_port(port);
	return r < 0 ? r : 0;
}

/* Go on with a bound client. It may be gone afterwards. */
static void serve_client(struct relay_client *client)
{
	if (forward(client) < 0 || (client->closing && !client->held))
		drop_client(client);
	else
		watch_client(client);
}

void relay_go_on(struct relay *relay)
{
	struct relay_client *client;

	list_for_each (client, &relay->clients, struct relay_client, link)
		if (client->held)
			serve_client(client);
}

/* Answer a client in the broker's place, and end it. */
static void refuse(struct relay_client *client, const struct link_hello *hello,
		   const char *sentence)
{
	json_t *reply = json_pack("{s:s, s:i}", "error", sentence, "errno", EBUSY);
	char *text = json_dumps(reply, JSON_COMPACT);

	link_put_hello(&client->out, hello->nonce);
	if (hello->version == LINK_VERSION && text)
		link_put(&client->out, 0, LINK_CONTROL, text, strlen(text));
	free(text);
	json_decref(reply);
	drop_client(client);
}

static struct relay_port *free_port(struct relay *relay)
{
	for (int i = 0; i < HOST_PORTS; i++)
		if (!relay->ports[i].client)
			return &relay->ports[i];
	return NULL;
}

/* Bind a client that has said hello. It may be gone afterwards. */
static void bind_client(struct relay_client *client)
{
	struct relay *relay = client->relay;
	struct relay_port *port = free_port(relay);
	struct link_hello hello = {0};
	struct link_frame frame;
	struct error err;
	int r = link_next(&client->in, &frame, NULL);

	if (r == 0)
		return;
	if (r < 0)
		drop_client(client);
	else if (link_get_hello(&frame, &hello, &err) < 0)
		refuse(client, &hello, err.text);
	else if (!port)
		refuse(client, &hello,
		       "the emulated host serves no more clients at once: end one");
	else {
		relay->waiting--;
		client->port = port;
		port->client = client;
		port->open = false;
		memcpy(port->nonce, hello.nonce, LINK_NONCE);
		serve_client(client);
	}
}

static void on_bind(struct loop_timer *timer)
{
	struct relay *relay = container_of(timer, struct relay, bind);
	struct relay_client *client;

	list_for_each (client, &relay->clients, struct relay_client, link)
		if (relay->up && !client->port)
			bind_client(client);
}

/* Bytes of a client, as many as may be. It may be gone afterwards. */
static void read_client(struct relay_client *client)
{
	ssize_t n = buf_fill(&client->in, client->source.fd, RELAY_PIECE);

	if (n == -EAGAIN)
		return;
	if (n <= 0)
		drop_client(client);
	else if (client->port)
		serve_client(client);
	else if (client->relay->up)
		bind_client(client);
	else
		watch_client(client);
}

static void write_client(struct relay_client *client)
{
	if (buf_flush(&client->out, client->source.fd) < 0)
		buf_fini(&client->out);
	watch_client(client);
	if (client->port)
		relay_watch_port(client->port);
}

/* What a client said before it hung up still counts. It may be gone afterwards. */
static void hang_up(struct relay_client *client)
{
	if (!client->port) {
		drop_client(client);
		return;
	}
	while (buf_fill(&client->in, client->source.fd, RELAY_PIECE) > 0)
		;
	close_client(client);
	serve_client(client);
}

static void on_client(struct loop_source *source, uint32_t revents)
{
	struct relay_client *client = container_of(source, struct relay_client, source);

	if (revents & EPOLLOUT)
		write_client(client);
	if (revents & (EPOLLHUP | EPOLLERR))
		hang_up(client);
	else if (revents & EPOLLIN)
		read_client(client);
}

/* A port that has more to send than it takes interrupts the host anyway. */
static void on_tick(struct loop_timer *timer)
{
	struct relay *relay = container_of(timer, struct relay, tick);
	struct relay_port *port = &relay->ports[0];

	loop_timer_set(relay->loop, timer, RELAY_TICK_MS);
	if (port->out.len)
		return;
	if (link_put(&port->out, 0, LINK_TICK, NULL, 0) < 0)
		relay->ops->on_lost(relay);
	relay_watch_port(port);
}

void relay_is_up(struct relay *relay)
{
	relay->up = true;
	relay->ops->on_up(relay);
	loop_timer_set(relay->loop, &relay->bind, 0);
	loop_timer_set(relay->loop, &relay->tick, RELAY_TICK_MS);
}

/* A frame for a session that is not open: only its hello counts. */
static void open_session(struct relay_port *port, const struct link_frame *frame)
{
	struct link_hello hello;

	port->open = frame->type == LINK_HELLO &&
		     link_get_hello(frame, &hello, NULL) == 0 &&
		     memcmp(hello.nonce, port->nonce, LINK_NONCE) == 0;
}

static int pass_frame(struct relay_port *port, const struct link_frame *frame)
{
	if (!port->open)
		open_session(port, frame);
	if (!port->open || !port->client)
		return 0;
	if (frame->type == LINK_BYE) {
		drop_client(port->client);
		return 0;
	}
	if (port->client->closing)
		return 0;
	return buf_append(&port->client->out, buf_peek(&port->in), link_frame_size(frame));
}

static void read_port(struct relay_port *port)
{
	ssize_t n = buf_fill(&port->in, port->source.fd, RELAY_PIECE);
	struct link_frame frame;
	int r;

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		port->relay->ops->on_lost(port->relay);
		return;
	}
	if (!port->begun && !relay_begin(port))
		return;
	while ((r = link_next(&port->in, &frame, NULL)) > 0) {
		r = pass_frame(port, &frame);
		if (r < 0)
			break;
		buf_consume(&port->in, link_frame_size(&frame));
	}
	if (r < 0)
		port->relay->ops->on_lost(port->relay);
	else if (port->client)
		watch_client(port->client);
}

static void on_port(struct loop_source *source, uint32_t revents)
{
	struct relay_port *port = container_of(source, struct relay_port, source);

	if (revents & EPOLLOUT && buf_flush(&port->out, source->fd) < 0)
		port->relay->ops->on_lost(port->relay);
	if (revents & EPOLLOUT && port->client)
		watch_client(port->client);
	if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_port(port);
	relay_watch_port(port);
}

static void on_connection(struct loop_source *source, uint32_t revents)
{
	struct relay *relay = container_of(source, struct relay, listener);
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct relay_client *client;

	(void)revents;
	if (fd < 0)
		return;
	client = relay->waiting < RELAY_WAITING ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		close(fd);
		return;
	}
	client->relay = relay;
	relay->waiting++;
	list_add_before(&relay->clients, &client->link);
	if (loop_add(relay->loop, &client->source, fd, EPOLLIN, on_client) < 0) {
		client->source.fd = fd;
		free_client(client);
	}
}

static int init_port(struct relay *relay, struct relay_port *port, int fd)
{
	*port = (struct relay_port){.relay = relay, .source = LOOP_SOURCE_NONE};
	return loop_add(relay->loop, &port->source, fd, EPOLLIN, on_port);
}

int relay_init(struct relay *relay, struct loop *loop, int listen_fd, const int *ports,
	       int line, const struct relay_ops *ops, struct error *err)
{
	int r = 0;

	*relay = (struct relay){.loop = loop, .ops = ops};
	list_init(&relay->clients);
	loop_timer_init(&relay->bind, on_bind);
	loop_timer_init(&relay->tick, on_tick);
	for (int i = 0; i < HOST_PORTS && r == 0; i++)
		r = init_port(relay, &relay->ports[i], ports[i]);
	if (r == 0)
		r = loop_add(loop, &relay->listener, listen_fd, EPOLLIN, on_connection);
	if (r == 0)
		r = relay_call(relay, line);
	return r < 0 ? error_set(err, -r, "cannot relay clients") : 0;
}

void relay_fini(struct relay *relay)
{
	struct relay_client *client;

	list_for_each (client, &relay->clients, struct relay_client, link)
		free_client(client);
	loop_timer_cancel(&relay->bind);
	loop_timer_cancel(&relay->tick);
	relay_line_fini(relay);
	loop_del(relay->loop, &relay->listener);
	for (int i = 0; i < HOST_PORTS; i++) {
		loop_del(relay->loop, &relay->ports[i].source);
		buf_fini(&relay->ports[i].in);
		buf_fini(&relay->ports[i].out);
	}
}
