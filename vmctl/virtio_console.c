#include "vmctl/virtio_console.h"

#include "util/list.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/socket.h>

/* Queues: virtio 1.2, 5.3.2. "Receive" and "transmit" are the driver's view. */
enum {
	LOG_RX,
	LOG_TX,
	CONTROL_RX,
	CONTROL_TX,
	AGENT_RX,
	AGENT_TX,
	QUEUES,
};

#define QUEUE_SIZE 128
#define LOG_PORT   0
#define AGENT_PORT 1

/* Control messages in the order in which a port gets them. */
enum {
	SEND_ADD = 1 << 0,
	SEND_CONSOLE = 1 << 1,
	SEND_NAME = 1 << 2,
	SEND_OPEN = 1 << 3,
};

static void watch(struct virtio_console *con, bool in, bool out)
{
	in = in && con->agent_fd >= 0;
	out = out && con->agent_fd >= 0;
	if (con->want_in == in && con->want_out == out)
		return;
	con->want_in = in;
	con->want_out = out;
	con->watch(con);
}

/* Room for one message of the device: a header, and a name perhaps. */
struct message {
	struct virtio_console_control header;
	char name[sizeof(CONSOLE_AGENT)];
};

/* The first message in @bits, which loses it. Return: the message's length. */
static size_t next_message(unsigned port, unsigned *bits, struct message *message)
{
	unsigned bit = *bits & -*bits;
	size_t len = sizeof(message->header);

	*bits &= ~bit;
	message->header = (struct virtio_console_control){.id = port, .value = 1};
	switch (bit) {
	case SEND_ADD:
		message->header.event = VIRTIO_CONSOLE_PORT_ADD;
		break;
	case SEND_CONSOLE:
		message->header.event = VIRTIO_CONSOLE_CONSOLE_PORT;
		break;
	case SEND_NAME:
		message->header.event = VIRTIO_CONSOLE_PORT_NAME;
		memcpy(message->name, CONSOLE_AGENT, sizeof(message->name));
		len += strlen(CONSOLE_AGENT);
		break;
	case SEND_OPEN:
		message->header.event = VIRTIO_CONSOLE_PORT_OPEN;
		break;
	}
	return len;
}

/* Send one message of @port. Return: 1, 0 without room for it, or -EPROTO. */
static int send_one(struct virtio_console *con, unsigned port, struct error *err)
{
	struct virtqueue *vq = &con->dev.queues[CONTROL_RX];
	struct message message;
	struct iov_cursor in;
	struct vchain chain;
	size_t len;
	int r = virtqueue_peek(vq, con->dev.mem, &chain, err);

	if (r <= 0)
		return r;
	len = next_message(port, &con->pending[port], &message);
	in = vchain_in(&chain);
	if (iov_write(&in, &message, len) != len)
		return error_say(err, EPROTO, "a buffer for control messages is %u bytes",
				 chain.in);
	virtqueue_done(vq, con->dev.mem, &chain, (uint32_t)len);
	return 1;
}

/* Send what is pending, as far as the guest has given room. */
static int send_control(struct virtio_console *con, struct error *err)
{
	struct virtqueue *vq = &con->dev.queues[CONTROL_RX];
	bool any = false;
	int r = virtqueue_pending_all(vq, con->dev.mem, err);

	for (unsigned port = 0; port < CONSOLE_PORTS && r > 0; port++)
		while (con->pending[port] && (r = send_one(con, port, err)) > 0)
			any = true;
	if (any)
		virtio_used(&con->dev, vq);
	return r < 0 ? r : 0;
}

static void handle_control(struct virtio_console *con,
			   const struct virtio_console_control *message)
{
	bool good = message->value == 1;

	if (message->event == VIRTIO_CONSOLE_DEVICE_READY && good)
		for (unsigned port = 0; port < CONSOLE_PORTS; port++)
			con->pending[port] |= SEND_ADD;
	if (message->id >= CONSOLE_PORTS)
		return;
	if (message->event == VIRTIO_CONSOLE_PORT_READY && good)
		con->pending[message->id] |= message->id == LOG_PORT
						 ? SEND_CONSOLE | SEND_OPEN
						 : SEND_NAME | SEND_OPEN;
	if (message->event == VIRTIO_CONSOLE_PORT_OPEN && message->id == AGENT_PORT)
		con->agent_open = good;
}

static int receive_control(struct virtio_console *con, const struct vchain *chain,
			   struct error *err)
{
	struct virtio_console_control message;
	struct iov_cursor out = vchain_out(chain);

	if (iov_read(&out, &message, sizeof(message)) != sizeof(message))
		return error_say(err, EPROTO, "a control message is %u bytes long",
				 chain->out);
	handle_control(con, &message);
	return 0;
}

static int log_chain(struct virtio_console *con, const struct vchain *chain,
		     struct error *err)
{
	(void)err;
	for (unsigned i = 0; i < chain->nout; i++)
		conlog_write(con->log, chain->iov[i].iov_base, chain->iov[i].iov_len);
	return 0;
}

/* Consume all that is in @queue now, by @each. */
static int drain(struct virtio_console *con, unsigned queue,
		 int (*each)(struct virtio_console *con, const struct vchain *chain,
			     struct error *err),
		 struct error *err)
{
	struct virtqueue *vq = &con->dev.queues[queue];
	int pending = virtqueue_pending_all(vq, con->dev.mem, err);
	struct vchain chain;

	if (pending <= 0)
		return pending;
	for (int i = 0; i < pending; i++) {
		int r = virtqueue_peek(vq, con->dev.mem, &chain, err);

		if (r < 0 || (r = each(con, &chain, err)) < 0)
			return r;
		virtqueue_done(vq, con->dev.mem, &chain, 0);
	}
	virtio_used(&con->dev, vq);
	return 0;
}

/*
 * Send the rest of @chain.
 * Return: 1 when all of it is gone, 0 when the socket takes no more now, or
 * -EPROTO. Without a socket the bytes go nowhere.
 * #syscalls:vm,vcpu sendmsg recvmsg epoll_ctl
 */
static int send_chain(struct virtio_console *con, const struct vchain *chain,
		      struct error *err)
{
	struct iov_cursor out = vchain_out(chain);
	struct iovec part[QUEUE_SIZE];
	struct msghdr msg = {.msg_iov = part};
	ssize_t n;

	if (con->sent > chain->out)
		return error_say(err, EPROTO,
				 "a buffer of " CONSOLE_AGENT " changed while it was sent");
	while (con->agent_fd >= 0 && con->sent < chain->out) {
		struct iov_cursor at = out;
		size_t len = chain->out;

		iov_skip(&at, con->sent);
		msg.msg_iovlen = iov_take(&at, part, QUEUE_SIZE, &len);
		n = sendmsg(con->agent_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR)
			con->agent_fd = -1;
		else if (n > 0) {
			con->sent += (uint32_t)n;
			con->bytes_out += (uint64_t)n;
		}
	}
	con->sent = 0;
	return 1;
}

/* From the guest to the socket. */
static int agent_transmit(struct virtio_console *con, struct error *err)
{
	struct virtqueue *vq = &con->dev.queues[AGENT_TX];
	int pending = virtqueue_pending_all(vq, con->dev.mem, err), done = 0, r = 1;
	struct vchain chain;

	if (pending < 0)
		return pending;
	while (r > 0 && done < pending) {
		r = virtqueue_peek(vq, con->dev.mem, &chain, err);
		if (r > 0)
			r = send_chain(con, &chain, err);
		if (r < 0)
			return r;
		if (r > 0) {
			virtqueue_done(vq, con->dev.mem, &chain, 0);
			done++;
		}
	}
	if (done)
		virtio_used(&con->dev, vq);
	watch(con, con->want_in, done < pending);
	return 0;
}

/*
 * Fill @chain from the socket.
 * Return: bytes received, 0 when there are none now, or -EPROTO.
 */
static ssize_t receive_chain(struct virtio_console *con, struct vchain *chain,
			     struct error *err)
{
	struct msghdr msg = {.msg_iov = chain->iov + chain->nout, .msg_iovlen = chain->nin};
	ssize_t n;

	if (!chain->in)
		return error_say(err, EPROTO, "a buffer to receive into has no room");
	do
		n = recvmsg(con->agent_fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		con->agent_fd = -1;
	con->bytes_in += n > 0 ? (uint64_t)n : 0;
	return n < 0 ? 0 : n;
}

/* Return: how many chains there are to receive into, or -EPROTO. */
static int agent_room(struct virtio_console *con, struct error *err)
{
	int room = virtqueue_pending(&con->dev.queues[AGENT_RX], con->dev.mem, err);

	if (room > con->most_room)
		con->most_room = (uint16_t)room;
	return room;
}

/* How much room is worth to begin again. */
static int enough_room(const struct virtio_console *con)
{
	return con->most_room > 1 ? con->most_room / 2 : 1;
}

/*
 * Poll the socket while there is room. When there is none any more, rest until the guest
 * has given back half of what it once gave, and be told of that alone. A guest that is
 * slower than its host would otherwise get its bytes by single buffers, each with an
 * exit, a wake-up and an interrupt. What it has not read yet is the other half; when it
 * has read all, all is given back.
 */
static int agent_want(struct virtio_console *con, struct error *err)
{
	struct virtqueue *vq = &con->dev.queues[AGENT_RX];
	int room = agent_room(con, err);

	con->rests = con->rests || !room;
	if (con->rests) {
		virtqueue_notify_at(vq, con->dev.mem, (unsigned)enough_room(con));
		room = agent_room(con, err);
		con->rests = room < enough_room(con);
	}
	if (room < 0)
		return room;
	if (!con->rests)
		virtqueue_notify_at(vq, con->dev.mem, 0);
	watch(con, con->agent_open && !con->rests, con->want_out);
	return 0;
}

/* From the socket to the guest. */
static int agent_receive(struct virtio_console *con, struct error *err)
{
	struct virtqueue *vq = &con->dev.queues[AGENT_RX];
	int pending = agent_room(con, err), done = 0;
	ssize_t n = 1;
	struct vchain chain;

	if (pending < 0)
		return pending;
	if (!con->agent_open)
		pending = 0;
	while (n > 0 && done < pending && con->agent_fd >= 0) {
		n = virtqueue_peek(vq, con->dev.mem, &chain, err);
		if (n > 0)
			n = receive_chain(con, &chain, err);
		if (n < 0)
			return (int)n;
		if (n > 0) {
			virtqueue_done(vq, con->dev.mem, &chain, (uint32_t)n);
			done++;
		}
	}
	if (done)
		virtio_used(&con->dev, vq);
	return agent_want(con, err);
}

void virtio_console_part(struct virtio_console *con, int agent_fd)
{
	con->agent_fd = agent_fd;
	con->bytes_in = con->bytes_out = 0;
	con->want_in = con->want_out = con->rests = false;
}

int virtio_console_ready(struct virtio_console *con, struct error *err)
{
	struct error why;
	int r = 0;

	if (con->want_out)
		r = agent_transmit(con, &why);
	if (!r && con->want_in)
		r = agent_receive(con, &why);
	if (r < 0)
		return error_say(err, -r, "the guest broke the rules of %s: %s",
				 con->dev.ops->name, why.text);
	return 0;
}

static int console_notify(struct virtio_device *dev, unsigned queue, struct error *err)
{
	struct virtio_console *con = container_of(dev, struct virtio_console, dev);
	int r = 0;

	switch (queue) {
	case LOG_TX:
		return drain(con, LOG_TX, log_chain, err);
	case CONTROL_TX:
		r = drain(con, CONTROL_TX, receive_control, err);
		if (!r)
			r = send_control(con, err);
		return r < 0 ? r : agent_want(con, err);
	case CONTROL_RX:
		return send_control(con, err);
	case AGENT_RX:
		return agent_want(con, err);
	case AGENT_TX:
		return con->want_out ? 0 : agent_transmit(con, err);
	default:
		return 0; /* nothing is ever typed at the log console */
	}
}

static void console_reset(struct virtio_device *dev)
{
	struct virtio_console *con = container_of(dev, struct virtio_console, dev);

	memset(con->pending, 0, sizeof(con->pending));
	con->agent_open = con->rests = false;
	con->most_room = 0;
	con->sent = 0;
	watch(con, false, false);
}

static const struct virtio_ops console_ops = {
    .name = "virtio-console",
    .id = VIRTIO_ID_CONSOLE,
    .queues = QUEUES,
    .queue_size = QUEUE_SIZE,
    .notify = console_notify,
    .reset = console_reset,
};

void virtio_console_init(struct virtio_console *con, struct conlog *log, int agent_fd,
			 void (*watch_fn)(struct virtio_console *con),
			 const struct gmem *mem, struct virtio_line line)
{
	*con = (struct virtio_console){
	    .config = {.max_nr_ports = CONSOLE_PORTS},
	    .log = log,
	    .agent_fd = agent_fd,
	    .watch = watch_fn,
	};
	virtio_init(&con->dev, &console_ops, mem, line,
		    1ull << VIRTIO_CONSOLE_F_MULTIPORT |
			1ull << VIRTIO_RING_F_INDIRECT_DESC |
			1ull << VIRTIO_RING_F_EVENT_IDX,
		    &con->config, sizeof(con->config));
}
