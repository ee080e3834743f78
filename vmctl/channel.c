#include "vmctl/channel.h"

#include "vmctl/client.h"
#include "wire/link.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHANNEL_PIECE	(64u << 10)	  /* bytes read from a VM at a time */
#define CHANNEL_PORTION (LINK_WINDOW / 8) /* bytes of credit worth a frame */

void channel_init(struct channel *channel, struct loop *loop, uint32_t id, int fd,
		  void (*drained)(struct channel *channel))
{
	*channel = (struct channel){
	    .loop = loop,
	    .source = LOOP_SOURCE_NONE,
	    .id = id,
	    .fd = fd,
	    .limit = UINT64_MAX,
	    .drained = drained,
	};
	list_init(&channel->link);
}

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
	buf_fini(&channel->to_vm);
	buf_fini(&channel->kept);
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
	size_t len = channel->to_vm.len;

	buf_fini(&channel->to_vm);
	channel->held = 0;
	channel_took(channel, len);
}

/* Write all but the bytes that are held. Return: 0 or -errno. */
static int channel_flush(struct channel *channel)
{
	struct buf *to_vm = &channel->to_vm;

	while (to_vm->len > channel->held) {
		ssize_t n = write(channel->fd, buf_peek(to_vm), to_vm->len - channel->held);

		if (n < 0 && errno != EINTR)
			return errno == EAGAIN ? 0 : -errno;
		if (n > 0)
			buf_consume(to_vm, (size_t)n);
	}
	return 0;
}

static void channel_write(struct channel *channel)
{
	size_t before = channel->to_vm.len;

	if (channel->fd < 0 || channel_flush(channel) < 0)
		channel_discard(channel);
	else
		channel_took(channel, before - channel->to_vm.len);
}

void channel_settle(struct channel *channel)
{
	if (channel->fd < 0 && channel->ended && channel->owner)
		channel->drained(channel);
}

static bool channel_may_read(const struct channel *channel)
{
	return channel->owner && !channel->repeat && channel->window &&
	       !client_busy(channel->owner) && channel->relayed < channel->limit;
}

/* Everything has been read and queued; an owner, if there is one, has it all. */
static void channel_drain(struct channel *channel)
{
	channel_close(channel);
	channel_discard(channel);
	channel_settle(channel);
}

static void channel_read(struct channel *channel)
{
	struct client *owner = channel->owner;
	size_t max = channel->window < CHANNEL_PIECE ? channel->window : CHANNEL_PIECE;
	uint64_t left = channel->limit - channel->relayed;
	uint8_t piece[CHANNEL_PIECE];
	ssize_t n;

	if (!buf_reserve(&channel->kept, max)) {
		client_break(owner);
		return;
	}
	do
		n = read(channel->fd, piece, max < left ? max : left);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN && !channel->ended)
		return;
	if (n <= 0) {
		channel_drain(channel);
		return;
	}
	buf_append(&channel->kept, piece, (size_t)n); /* there is room */
	channel->window -= (uint32_t)n;
	channel->relayed += (uint64_t)n;
	if (link_put(&owner->out, channel->id, LINK_DATA, piece, (size_t)n) < 0) {
		client_break(owner); /* who attaches it next gets them again */
		return;
	}
	list_del(&channel->link);
	list_add_before(&owner->channels, &channel->link);
	client_watch(owner);
	if (channel->relayed == channel->limit && channel->cut)
		channel->cut(channel);
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
	if (channel->to_vm.len > channel->held)
		events |= EPOLLOUT;
	if (!events)
		loop_del(channel->loop, &channel->source);
	else if (channel->source.fd >= 0)
		loop_mod(channel->loop, &channel->source, events);
	else if (loop_add(channel->loop, &channel->source, channel->fd, events, on_agent) <
		 0)
		channel_drain(channel);
}

/* Forget what is kept of the first @count bytes of the VM. */
static void channel_forget(struct channel *channel, uint64_t count)
{
	uint64_t start = channel->relayed - channel->kept.len;

	if (count >= channel->relayed)
		buf_fini(&channel->kept);
	else if (count > start)
		buf_consume(&channel->kept, (size_t)(count - start));
}

uint64_t channel_position(const struct channel *channel)
{
	return channel->relayed - channel->repeat;
}

uint64_t channel_accepted(const struct channel *channel)
{
	return channel->fed + channel->held;
}

void channel_repeat(struct channel *channel)
{
	struct client *owner = channel->owner;
	const uint8_t *from = buf_peek(&channel->kept);

	while (channel->repeat) {
		size_t done = channel->kept.len - channel->repeat;
		size_t len =
		    channel->repeat < CHANNEL_PIECE ? channel->repeat : CHANNEL_PIECE;

		if (link_put(&owner->out, channel->id, LINK_DATA, from + done, len) < 0) {
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
	if (channel->to_vm.len > LINK_WINDOW)
		return error_say(err, EBUSY,
				 "the VM has not taken what its former clients sent");
	channel_detach(channel);
	channel_forget(channel, from);
	channel->owner = client;
	channel->repeat = channel->kept.len;
	channel->window = LINK_WINDOW - (uint32_t)channel->kept.len;
	channel->allowed = LINK_WINDOW;
	channel->stale = channel->to_vm.len;
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
	if (buf_append(&channel->to_vm, data, len) < 0)
		return -ENOMEM;
	if (channel->hold)
		channel->held += len;
	else
		channel->fed += len;
	channel_write(channel);
	channel_watch(channel);
	return 0;
}

uint64_t channel_hold(struct channel *channel)
{
	channel->hold = true;
	channel->limit = channel->relayed;
	channel_watch(channel);
	return channel->fed;
}

int channel_cut(struct channel *channel, uint64_t count,
		void (*cut)(struct channel *channel))
{
	if (count < channel->relayed)
		return -EPROTO;
	channel->limit = count;
	channel->cut = cut;
	if (channel->relayed == count)
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
	channel->fed += channel->held;
	channel->held = 0;
	if (channel->to_vm.len)
		channel_write(channel);
	channel_watch(channel);
}

int channel_credit(struct channel *channel, uint32_t bytes)
{
	if (bytes > LINK_WINDOW - channel->window)
		return -EPROTO;
	channel->window += bytes;
	buf_consume(&channel->kept, bytes);
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
