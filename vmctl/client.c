#include "vmctl/client.h"

#include "util/cleanup.h"
#include "vmctl/broker.h"
#include "vmctl/channel.h"
#include "vmctl/host_line.h"
#include "vmctl/ops.h"
#include "vmctl/vmproc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENT_PIECE (64u << 10) /* bytes read from a client at a time */

/* Let go of everything that belongs to the session. */
static void client_reset(struct client *client)
{
	struct channel *channel;

	list_for_each (channel, &client->channels, struct channel, link)
		channel_detach(channel);
	ops_forget(client);
	client->greeted = false;
}

void client_free(struct client *client)
{
	client_reset(client);
	loop_timer_cancel(&client->end);
	loop_del(&client->broker->loop, &client->source);
	list_del(&client->link);
	buf_flush(&client->out, client->fd);
	close(client->fd);
	buf_fini(&client->in);
	buf_fini(&client->out);
	free(client);
}

void client_break(struct client *client)
{
	if (client->broken)
		return;
	client->broken = true;
	loop_timer_set(&client->broker->loop, &client->end, 0);
}

void client_begin(struct client *client, const uint8_t nonce[LINK_NONCE])
{
	client_reset(client);
	loop_timer_cancel(&client->end);
	client->broken = false;
	buf_consume(&client->in, client->in.len);
	buf_consume(&client->out, client->out.len);
	buf_append(&client->out, nonce, LINK_NONCE);
	memcpy(client->nonce, nonce, LINK_NONCE);
	client->former = true;
	client_watch(client);
}

static int on_hello(struct client *client, const struct link_frame *frame)
{
	struct link_hello hello = {0};
	int r;

	if (link_get_hello(frame, &hello, NULL) < 0 && hello.version == LINK_VERSION)
		return -EPROTO;
	r = link_put_hello(&client->out, hello.nonce);
	client_watch(client);
	if (r < 0 || hello.version != LINK_VERSION)
		return -EPROTO;
	client->greeted = true;
	return 0;
}

static int on_credit(struct channel *channel, const struct link_frame *frame)
{
	uint32_t bytes;

	if (link_get_credit(frame, &bytes, NULL) < 0)
		return -EPROTO;
	return channel_credit(channel, bytes);
}

/* Frames for a channel that has just gone elsewhere crossed that on the way. */
static int on_channel(struct client *client, const struct link_frame *frame)
{
	struct vmproc *vm = broker_find(client->broker, frame->channel);

	if (!frame->channel)
		return -EPROTO;
	if (!vm || vm->channel.owner != client)
		return 0;
	if (frame->type == LINK_CREDIT)
		return on_credit(&vm->channel, frame);
	return channel_from_client(&vm->channel, frame->payload, frame->len);
}

static int on_frame(struct client *client, const struct link_frame *frame)
{
	if (frame->type == LINK_DISKS)
		return client->port ? ops_disks(client, frame->payload, frame->len)
				    : -EPROTO;
	if (frame->type == LINK_TICK)
		return client->port ? 0 : -EPROTO;
	if (!client->greeted) {
		if (frame->type == LINK_HELLO)
			return on_hello(client, frame);
		return client->port ? 0 : -EPROTO;
	}
	switch ((enum link_type)frame->type) {
	case LINK_CONTROL:
		if (frame->channel)
			return -EPROTO;
		return ops_request(client, frame->payload, frame->len);
	case LINK_DATA:
	case LINK_CREDIT:
		return on_channel(client, frame);
	case LINK_BYE:
		client_reset(client);
		return 0;
	case LINK_HELLO:
	case LINK_DISKS:
	case LINK_TICK:
		break;
	}
	return -EPROTO;
}

static bool client_may_read(const struct client *client)
{
	return !client->broken && client->out.len < CLIENT_STALL;
}

/* Handle whole frames, while the client takes what they make us say. */
static void client_parse(struct client *client)
{
	if (client->former)
		client->former = !line_seek(&client->in, client->nonce);
	while (!client->former && client_may_read(client)) {
		struct link_frame frame;
		int r = link_next(&client->in, &frame, NULL);

		if (r == 0)
			return;
		if (r > 0)
			r = on_frame(client, &frame);
		else
			buf_consume(&client->in, client->in.len);
		if (r < 0)
			client_break(client);
		if (client->in.len)
			buf_consume(&client->in, link_frame_size(&frame));
	}
}

void client_watch(struct client *client)
{
	uint32_t events = 0;

	if (client->out.len > CLIENT_DROP)
		client_break(client);
	if (client_may_read(client))
		events |= EPOLLIN;
	if (client->out.len)
		events |= EPOLLOUT;
	if (client->hung)
		events = CLIENT_HUNG;
	loop_mod(&client->broker->loop, &client->source, events);
}

/* Does an error of write(2) say that nobody reads? */
static bool has_left(int r)
{
	return r == -EPIPE || r == -ECONNRESET;
}

static void client_write(struct client *client)
{
	bool was_busy = client_busy(client), stalled = !client_may_read(client);
	struct channel *channel;
	int r = buf_flush(&client->out, client->fd);

	if (r < 0 && (client->port || !has_left(r))) {
		client_break(client);
		return;
	}
	/* Who takes nothing any more is about to hang up; what he says before counts. */
	if (r < 0)
		buf_consume(&client->out, client->out.len);
	if (stalled)
		client_parse(client);
	if (!was_busy || client_busy(client))
		return;
	list_for_each (channel, &client->channels, struct channel, link)
		channel_watch(channel);
}

/* A port's relay has gone: it may have been in the middle of a frame. */
static void client_lost(struct client *client)
{
	if (!client->port) {
		client_break(client);
		return;
	}
	client->hung = true;
	client->former = true;
	buf_consume(&client->in, client->in.len);
	client_reset(client);
}

static void client_read(struct client *client)
{
	ssize_t n = buf_fill_up(&client->in, client->fd, CLIENT_PIECE);

	if (n == -EAGAIN)
		return;
	if (n <= 0)
		client_lost(client);
	else
		client_parse(client);
}

/*
 * Nobody hears us any more, but all that was said before counts: epoll tells of the end
 * again until that is read. It is read piece by piece, so that others have their turns.
 */
static void client_hung_up(struct client *client)
{
	ssize_t n;

	if (client->broken)
		return;
	buf_consume(&client->out, client->out.len);
	n = buf_fill_up(&client->in, client->fd, CLIENT_PIECE);
	client_parse(client);
	if (n <= 0 && client_may_read(client))
		client_lost(client);
}

static void client_ready(struct client *client, uint32_t revents)
{
	if (revents & EPOLLOUT)
		client_write(client);
	if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR) && client_may_read(client))
		client_read(client);
	if (revents & (EPOLLHUP | EPOLLERR))
		client_lost(client);
}

static void on_stream(struct loop_source *source, uint32_t revents)
{
	struct client *client = container_of(source, struct client, source);

	client->hung = false;
	if (revents & (EPOLLHUP | EPOLLERR) && !client->port)
		client_hung_up(client);
	else
		client_ready(client, revents);
	client_watch(client);
}

/*
 * The session of a broken client ends here. A port goes on: what is queued stays,
 * so that the stream remains one of whole frames, and the relay is told.
 */
static void on_end(struct loop_timer *timer)
{
	struct client *client = container_of(timer, struct client, end);

	if (!client->port) {
		client_free(client);
		return;
	}
	client_reset(client);
	client->broken = false;
	link_put(&client->out, 0, LINK_BYE, NULL, 0);
	client_parse(client);
	client_watch(client);
}

int client_add(struct broker *broker, int fd, bool port, struct error *err)
{
	struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client) {
		close(fd);
		return error_set(err, ENOMEM, "cannot take a client");
	}
	*client = (struct client){.broker = broker, .fd = fd, .port = port, .former = port};
	list_init(&client->channels);
	list_init(&client->requests);
	loop_timer_init(&client->end, on_end);
	list_add_before(&broker->clients, &client->link);
	r = loop_add(&broker->loop, &client->source, fd, EPOLLIN, on_stream);
	if (r < 0) {
		client_free(client);
		return error_set(err, -r, "cannot watch a client");
	}
	return 0;
}

int client_send(struct client *client, json_t *message)
{
	cleanup_free char *text = json_dumps(message, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;
	int r;

	if (len > LINK_PAYLOAD_MAX)
		return -EMSGSIZE;
	r = link_put(&client->out, 0, LINK_CONTROL, text, len);
	if (r < 0)
		client_break(client);
	client_watch(client);
	return r;
}
