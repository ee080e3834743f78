#include "vmctl/virtio_net.h"

#include "util/list.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* "Receive" and "transmit" are the driver's view (virtio 1.2, 5.1.2). */
enum { RX, TX, QUEUES };

#define HEADER	   sizeof(struct virtio_net_hdr_v1)
#define QUEUE_SIZE 256

static const uint8_t mac[] = {0x02, 0x70, 0x66, 0x66, 0x73, 0x02};

static void watch(struct virtio_net *net, bool in)
{
	if (net->want_in == in)
		return;
	net->want_in = in;
	net->watch(net);
}

static void disconnect(struct virtio_net *net)
{
	net->tap_fd = -1;
	net->want_in = false;
	net->watch(net);
}

/*
 * A tap that cannot do it finishes all frames by itself, which is right as well.
 * #syscalls:vm,vcpu ioctl(1==TUNSETOFFLOAD) read writev
 */
static void match_tap(struct virtio_net *net)
{
	unsigned offloads = net_offloads(net->dev.driver_features);

	if (net->tap_fd < 0 || net->offloads == offloads)
		return;
	net->offloads = offloads;
	ioctl(net->tap_fd, TUNSETOFFLOAD, offloads);
}

/* It goes to the tap whole or not at all; the kernel refuses what it does not like. */
static int send_frame(struct virtio_net *net, const struct vchain *chain, struct error *err)
{
	struct virtio_net_hdr_v1 header;
	struct iovec part[VIRTQUEUE_SIZE_MAX + 1] = {{&header, HEADER}};
	struct iov_cursor out = vchain_out(chain);
	size_t len = chain->out - HEADER;
	unsigned count;

	if (iov_read(&out, &header, HEADER) != HEADER)
		return error_say(err, EPROTO, "a frame of %u bytes has no header",
				 chain->out);
	if (!net_header_sends(&header, len, net->dev.driver_features))
		return 0;
	count = 1 + iov_take(&out, part + 1, VIRTQUEUE_SIZE_MAX, &len);
	if (writev(net->tap_fd, part, (int)count) < 0 && (errno == EIO || errno == EBADFD))
		disconnect(net);
	return 0;
}

/* The oldest chains but @left go nowhere. Return: 0 or -EPROTO. */
static int drop_frames(struct virtio_net *net, int left, struct error *err)
{
	struct virtqueue *vq = &net->dev.queues[TX];
	int pending = virtqueue_pending(vq, net->dev.mem, err), r = pending;
	struct vchain chain;

	if (pending <= left)
		return pending < 0 ? pending : 0;
	for (; pending > left && r > 0; pending--) {
		r = virtqueue_peek(vq, net->dev.mem, &chain, err);
		if (r > 0)
			virtqueue_done(vq, net->dev.mem, &chain, 0);
	}
	virtio_used(&net->dev, vq);
	return r < 0 ? r : 0;
}

/* So that a driver never finds its queue full, the older half of it gives way. */
static int wait_for_tap(struct virtio_net *net, struct error *err)
{
	struct virtqueue *vq = &net->dev.queues[TX];
	int most = vq->size > 1 ? vq->size / 2 : 1, r = 0;
	bool more = true;

	/* As virtqueue_pending_all(), and as bounded. */
	for (unsigned i = 0; i <= vq->size && more && r == 0; i++) {
		r = drop_frames(net, most, err);
		virtqueue_notify_at(vq, net->dev.mem, (unsigned)most + 1);
		more = r == 0 && virtqueue_pending(vq, net->dev.mem, err) > most;
	}
	return r;
}

static int transmit(struct virtio_net *net, struct error *err)
{
	struct virtqueue *vq = &net->dev.queues[TX];
	struct vchain chain;
	int pending;

	if (net->tap_fd < 0)
		return wait_for_tap(net, err);
	pending = virtqueue_pending_all(vq, net->dev.mem, err);
	if (pending <= 0)
		return pending;
	for (int i = 0; i < pending && net->tap_fd >= 0; i++) {
		int r = virtqueue_peek(vq, net->dev.mem, &chain, err);

		if (r > 0)
			r = send_frame(net, &chain, err);
		if (r < 0)
			return r;
		virtqueue_done(vq, net->dev.mem, &chain, 0);
	}
	virtio_used(&net->dev, vq);
	return 0;
}

/* Return: as virtqueue_pending(). */
static int room(struct virtio_net *net, struct error *err)
{
	int chains = virtqueue_pending(&net->dev.queues[RX], net->dev.mem, err);

	if (chains > net->most_room)
		net->most_room = (uint16_t)chains;
	return chains;
}

/* Poll the tap while there is room; see above for the rest. */
static int want(struct virtio_net *net, struct error *err)
{
	struct virtqueue *vq = &net->dev.queues[RX];
	int chains = room(net, err), enough = net->most_room > 1 ? net->most_room / 2 : 1;

	net->rests = net->rests || chains <= net->most_room / 4;
	if (net->rests) {
		virtqueue_notify_at(vq, net->dev.mem, (unsigned)enough);
		chains = room(net, err);
		net->rests = chains < enough;
	}
	if (chains < 0)
		return chains;
	if (!net->rests)
		virtqueue_notify_at(vq, net->dev.mem, 0);
	watch(net, net->tap_fd >= 0 && !net->rests);
	return 0;
}

/* Return: bytes of the frame, header included, or 0 when there is none now. */
static size_t read_frame(struct virtio_net *net, struct net_frame *frame)
{
	ssize_t n;

	do
		n = read(net->tap_fd, frame, sizeof(*frame));
	while (n < 0 && errno == EINTR);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		disconnect(net);
	return n < 0 ? 0 : (size_t)n;
}

/* One more buffer of the guest's for @len bytes of a frame. Return: bytes of them in it, 0
 * without a buffer, or -EPROTO. */
static ssize_t fill(struct virtio_net *net, struct vchain *chain, const void *bytes,
		    size_t len, struct error *err)
{
	struct virtqueue *vq = &net->dev.queues[RX];
	int r = virtqueue_peek(vq, net->dev.mem, chain, err);
	struct iov_cursor in;
	size_t n;

	if (r <= 0)
		return r;
	if (chain->in < HEADER)
		return error_say(err, EPROTO,
				 "a buffer to receive into has room for %u bytes",
				 chain->in);
	in = vchain_in(chain);
	n = iov_write(&in, bytes, len);
	virtqueue_take(vq, net->dev.mem, chain, (uint32_t)n);
	return (ssize_t)n;
}

/* The number of a frame's buffers is in its header, and so in the first of them. */
static void write_count(const struct vchain *first, unsigned chains)
{
	uint16_t count = (uint16_t)chains;
	struct iov_cursor in = vchain_in(first);

	iov_skip(&in, offsetof(struct virtio_net_hdr_v1, num_buffers));
	iov_write(&in, &count, sizeof(count));
}

/* Return: 1, 0 when it does not fit what the guest has given, or -EPROTO. */
static int deliver(struct virtio_net *net, const struct net_frame *frame, size_t len,
		   struct error *err)
{
	struct virtqueue *vq = &net->dev.queues[RX];
	bool merges = net->dev.driver_features & 1ull << VIRTIO_NET_F_MRG_RXBUF;
	struct vchain first, more;
	ssize_t n = fill(net, &first, frame, len, err);
	size_t done = n > 0 ? (size_t)n : 0;
	unsigned chains = n > 0;

	while (n > 0 && done < len && merges) {
		n = fill(net, &more, (const uint8_t *)frame + done, len - done, err);
		done += n > 0 ? (size_t)n : 0;
		chains += n > 0;
	}
	if (done < len) {
		virtqueue_untake(vq, chains);
		return n < 0 ? (int)n : 0;
	}
	write_count(&first, chains);
	virtqueue_give(vq, net->dev.mem);
	return 1;
}

static int receive(struct virtio_net *net, struct error *err)
{
	struct net_frame frame;
	bool any = false;
	int r = 1;

	for (int i = 0; i < NET_ROUND && r > 0 && net->tap_fd >= 0; i++) {
		size_t len = read_frame(net, &frame);

		if (!len)
			break;
		if (len < HEADER + NET_FRAME_MIN ||
		    !net_header_receives(&frame.header, net->dev.driver_features))
			continue;
		r = deliver(net, &frame, len, err);
		any = any || r > 0;
	}
	if (any)
		virtio_used(&net->dev, &net->dev.queues[RX]);
	return r < 0 ? r : want(net, err);
}

void virtio_net_connect(struct virtio_net *net, int tap_fd)
{
	net->tap_fd = tap_fd;
	net->offloads = -1;
	net->want_in = false;
}

void virtio_net_part(struct virtio_net *net)
{
	virtio_net_connect(net, -1);
}

int virtio_net_ready(struct virtio_net *net, struct error *err)
{
	struct error why;
	int r;

	if (!virtio_running(&net->dev))
		return 0;
	match_tap(net);
	r = transmit(net, &why);
	if (!r)
		r = net->want_in ? receive(net, &why) : want(net, &why);
	if (r < 0)
		return error_say(err, -r, "the guest broke the rules of %s: %s",
				 net->dev.ops->name, why.text);
	return 0;
}

static int net_notify(struct virtio_device *dev, unsigned queue, struct error *err)
{
	struct virtio_net *net = container_of(dev, struct virtio_net, dev);

	match_tap(net);
	return queue == TX ? transmit(net, err) : want(net, err);
}

static void net_reset(struct virtio_device *dev)
{
	struct virtio_net *net = container_of(dev, struct virtio_net, dev);

	net->most_room = 0;
	net->rests = false;
	watch(net, false);
}

static const struct virtio_ops net_ops = {
    .name = "virtio-net",
    .id = VIRTIO_ID_NET,
    .queues = QUEUES,
    .queue_size = QUEUE_SIZE,
    .notify = net_notify,
    .reset = net_reset,
};

void virtio_net_init(struct virtio_net *net, void (*watch_fn)(struct virtio_net *net),
		     const struct gmem *mem, struct virtio_line line)
{
	*net = (struct virtio_net){.tap_fd = -1, .offloads = -1, .watch = watch_fn};
	memcpy(net->config.mac, mac, sizeof(mac));
	virtio_init(&net->dev, &net_ops, mem, line,
		    1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_CSUM |
			1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |
			1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
			1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_MRG_RXBUF |
			1ull << VIRTIO_RING_F_INDIRECT_DESC |
			1ull << VIRTIO_RING_F_EVENT_IDX,
		    &net->config, sizeof(net->config));
}
