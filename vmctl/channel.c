#include "vmctl/channel.h"

#include "vmctl/client.h"
#include "wire/link.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHANNEL_PIECE	(64u << 10)	  /* bytes read from a VM at a time */
#define CHANNEL_PORTION (LINK_WINDOW / 8) /* bytes of credit worth a frame */

static void channel_close(struct channel *channel)
{
	if (channel->fd < 0)
		return;
	loop_del(channel->loop, &channel->source);
	close(channel->fd);
	channel->fd = -1;
}

void channel_fini(struct channel *channel)
{
	channel_detach(channel);
	channel_close(channel);
}

/* Tell the owner what the VM took, when it is worth a frame. */
static void channel_took(struct channel *channel, size_t bytes)
{
	size_t stale = bytes < channel->stale ? bytes : channel->stale;

	channel->stale -= stale;
	if (!channel->owner)
		return;
	channel->taken += (uint32_t)(bytes - stale);
	if (channel->taken < CHANNEL_PORTION)
		return;
	if (link_put_credit(&channel->owner->out, channel->id, channel->taken) < 0) {
		client_break(channel->owner);
		return;
	}
	channel->allowed += channel->taken;
	channel->taken = 0;
	client_watch(channel->owner);
}

/* Bytes for a VM that takes none any more are disposed of. */
static void channel_discard(struct channel *channel)
{
	size_t len = ring_len(&channel->to_vm);

	ring_drop(&channel->to_vm, len);
	channel->unsure = channel->state->writing = false;
	channel->held = 0;
	channel_took(channel, len);
}

static bool channel_may_write(const struct channel *channel)
{
	return ring_len(&channel->to_vm) > channel->held && !channel->unsure;
}

/* Write all but the bytes that are held. Return: 0 or -errno. */
static int channel_flush(struct channel *channel)
{
	bool *writing = &channel->state->writing;
	int r = 0;

	while (channel_may_write(channel) && !r) {
		size_t len, most = ring_len(&channel->to_vm) - channel->held;
		const uint8_t *data = ring_data(&channel->to_vm, 0, &len);
		ssize_t n;

		__atomic_store_n(writing, true, __ATOMIC_SEQ_CST);
		n = send(channel->fd, data, len < most ? len : most,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			r = -errno;
		if (n > 0)
			ring_drop(&channel->to_vm, (size_t)n);
		__atomic_store_n(writing, false, __ATOMIC_SEQ_CST);
	}
	return r == -EAGAIN ? 0 : r;
}

static void channel_write(struct channel *channel)
{
	size_t before = ring_len(&channel->to_vm);

	if (channel->fd < 0 || channel_flush(channel) < 0)
		channel_discard(channel);
	else
		channel_took(channel, before - ring_len(&channel->to_vm));
}

void channel_settle(struct channel *channel)
{
	if (channel->fd < 0 && channel->ended && channel->owner)
		channel->drained(channel);
}

static bool channel_may_read(const struct channel *channel)
{
	return channel->owner && !channel->repeat && channel->window &&
	       !client_busy(channel->owner) && channel_relayed(channel) < channel->limit;
}

/* Everything has been read and queued; an owner, if there is one, has it all. */
static void channel_drain(struct channel *channel)
{
	channel_close(channel);
	channel_discard(channel);
	channel_settle(channel);
}

/* Take from the socket what has been counted. */
static void channel_consume(struct channel *channel, uint64_t count)
{
	uint8_t piece[CHANNEL_PIECE];

	while (count) {
		size_t len = count < sizeof(piece) ? (size_t)count : sizeof(piece);
		ssize_t n = recv(channel->fd, piece, len, MSG_DONTWAIT);

		if (n <= 0 && !(n < 0 && errno == EINTR))
			break; /* nobody else takes any */
		count -= n > 0 ? (uint64_t)n : 0;
	}
	__atomic_store_n(&channel->state->consumed, channel_relayed(channel),
			 __ATOMIC_SEQ_CST);
}

/* @data is in @from_vm: it goes to the owner, who gets it again if it cannot now. */
static void channel_pass(struct channel *channel, const uint8_t *data, size_t len)
{
	struct client *owner = channel->owner;

	channel->window -= (uint32_t)len;
	if (link_put(&owner->out, channel->id, LINK_DATA, data, len) < 0) {
		client_break(owner);
		return;
	}
	list_del(&channel->link);
	list_add_before(&owner->channels, &channel->link);
	client_watch(owner);
	if (channel_relayed(channel) == channel->limit && channel->cut)
		channel->cut(channel);
}

static size_t channel_most(const struct channel *channel, size_t room)
{
	uint64_t left = channel->limit - channel_relayed(channel);
	size_t max = room < CHANNEL_PIECE ? room : CHANNEL_PIECE;

	if (max > channel->window)
		max = channel->window;
	return max > left ? (size_t)left : max;
}

static void channel_read(struct channel *channel)
{
	size_t room;
	uint8_t *space = ring_space(&channel->from_vm, &room);
	ssize_t n;

	do
		n = recv(channel->fd, space, channel_most(channel, room),
			 MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN && !channel->ended)
		return;
	if (n <= 0) {
		channel_drain(channel);
		return;
	}
	ring_add(&channel->from_vm, (size_t)n);
	channel_consume(channel, (uint64_t)n);
	channel_pass(channel, space, (size_t)n);
}

static void on_agent(struct loop_source *source, uint32_t revents)
{
	struct channel *channel = container_of(source, struct channel, source);

	if (revents & EPOLLOUT)
		channel_write(channel);
	if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR) && channel->fd >= 0 &&
	    channel_may_read(channel))
		channel_read(channel);
	channel_watch(channel);
}

void channel_watch(struct channel *channel)
{
	uint32_t events = 0;

	if (channel->fd < 0)
		return;
	if (channel_may_read(channel))
		events |= EPOLLIN;
	if (channel_may_write(channel))
		events |= EPOLLOUT;
	if (!events)
		loop_del(channel->loop, &channel->source);
	else if (channel->source.fd >= 0)
		loop_mod(channel->loop, &channel->source, events);
	else if (loop_add(channel->loop, &channel->source, channel->fd, events, on_agent) <
		 0)
		channel_drain(channel);
}

/* Go on where another broker was killed; of a new VM there is nothing. */
static void channel_settle_streams(struct channel *channel)
{
	uint64_t counted = channel_relayed(channel) - channel->state->consumed;
	int peeked = 0, start = 0;
	socklen_t len = sizeof(peeked);

	getsockopt(channel->fd, SOL_SOCKET, SO_PEEK_OFF, &peeked, &len);
	if (counted)
		channel_consume(channel, (uint64_t)(peeked > 0 ? peeked : 0));
	setsockopt(channel->fd, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start));
	channel->unsure = channel->state->writing;
}

void channel_init(struct channel *channel, struct loop *loop, struct kept *kept, int fd,
		  void (*drained)(struct channel *channel))
{
	*channel = (struct channel){
	    .loop = loop,
	    .source = LOOP_SOURCE_NONE,
	    .state = &kept->channel,
	    .from_vm = kept_from_vm(kept),
	    .to_vm = kept_to_vm(kept),
	    .id = kept->facts.id,
	    .fd = fd,
	    .limit = UINT64_MAX,
	    .drained = drained,
	};
	list_init(&channel->link);
	channel_settle_streams(channel);
	channel_watch(channel);
}

int channel_sent(struct channel *channel, uint64_t count)
{
	const struct ring_state *to_vm = &channel->state->to_vm;

	if (!channel->unsure)
		return 0;
	if (count < to_vm->tail || count > to_vm->head)
		return -EPROTO;
	ring_drop(&channel->to_vm, (size_t)(count - to_vm->tail));
	channel->unsure = channel->state->writing = false;
	channel_write(channel);
	channel_watch(channel);
	return 0;
}

/* Forget what is kept of the first @count bytes of the VM. */
static void channel_forget(struct channel *channel, uint64_t count)
{
	const struct ring_state *from_vm = &channel->state->from_vm;

	if (count > from_vm->head)
		count = from_vm->head;
	if (count > from_vm->tail)
		ring_drop(&channel->from_vm, (size_t)(count - from_vm->tail));
}

uint64_t channel_position(const struct channel *channel)
{
	return channel_relayed(channel) - channel->repeat;
}

uint64_t channel_accepted(const struct channel *channel)
{
	return channel->state->to_vm.head;
}

void channel_repeat(struct channel *channel)
{
	struct client *owner = channel->owner;

	while (channel->repeat) {
		size_t len, done = ring_len(&channel->from_vm) - channel->repeat;
		const uint8_t *from = ring_data(&channel->from_vm, done, &len);

		if (len > CHANNEL_PIECE)
			len = CHANNEL_PIECE;
		if (link_put(&owner->out, channel->id, LINK_DATA, from, len) < 0) {
			client_break(owner);
			return;
		}
		channel->repeat -= len;
	}
	client_watch(owner);
	channel_watch(channel);
}

int channel_attach(struct channel *channel, struct client *client, uint64_t from,
		   struct error *err)
{
	if (channel->owner == client)
		return 0;
	if (ring_len(&channel->to_vm) > LINK_WINDOW)
		return error_say(err, EBUSY,
				 "the VM has not taken what its former clients sent");
	channel_detach(channel);
	channel_forget(channel, from);
	channel->owner = client;
	channel->repeat = ring_len(&channel->from_vm);
	channel->window = LINK_WINDOW - (uint32_t)channel->repeat;
	channel->allowed = LINK_WINDOW;
	channel->stale = ring_len(&channel->to_vm);
	list_add_before(&client->channels, &channel->link);
	channel_watch(channel);
	return 0;
}

void channel_detach(struct channel *channel)
{
	list_del(&channel->link);
	channel->owner = NULL;
	channel->taken = 0;
	channel_watch(channel);
}

int channel_from_client(struct channel *channel, const void *data, uint32_t len)
{
	if (len > channel->allowed)
		return -EPROTO;
	channel->allowed -= len;
	if (ring_put(&channel->to_vm, data, len) < 0)
		return -ENOMEM;
	if (channel->hold)
		channel->held += len;
	channel_write(channel);
	channel_watch(channel);
	return 0;
}

uint64_t channel_hold(struct channel *channel)
{
	channel->hold = true;
	channel->limit = channel_relayed(channel);
	channel_watch(channel);
	return channel_fed(channel);
}

int channel_cut(struct channel *channel, uint64_t count,
		void (*cut)(struct channel *channel))
{
	if (count < channel_relayed(channel))
		return -EPROTO;
	channel->limit = count;
	channel->cut = cut;
	if (channel_relayed(channel) == count)
		cut(channel);
	else
		channel_watch(channel);
	return 0;
}

void channel_release(struct channel *channel)
{
	if (!channel->hold)
		return;
	channel->hold = false;
	channel->cut = NULL;
	channel->limit = UINT64_MAX;
	channel->held = 0;
	if (ring_len(&channel->to_vm))
		channel_write(channel);
	channel_watch(channel);
}

int channel_credit(struct channel *channel, uint32_t bytes)
{
	if (bytes > LINK_WINDOW - channel->window)
		return -EPROTO;
	channel->window += bytes;
	ring_drop(&channel->from_vm, bytes);
	channel_watch(channel);
	return 0;
}

void channel_end(struct channel *channel)
{
	channel->ended = true;
	/* Another process may still have a copy of the other end: what is queued can be
	 * read, and then there is an end of file. */
	if (channel->fd >= 0)
		shutdown(channel->fd, SHUT_RD);
	channel_settle(channel);
	channel_watch(channel);
}
