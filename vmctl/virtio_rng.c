#include "vmctl/virtio_rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/random.h>

/* #syscalls:vm,vcpu getrandom */
#define CHUNK 256 /* bytes per chain at most; getrandom() gives this many whole */

static int rng_notify(struct virtio_device *dev, unsigned queue, struct error *err)
{
	struct virtqueue *vq = &dev->queues[queue];
	int pending = virtqueue_pending(vq, dev->mem, err);
	uint8_t bytes[CHUNK];
	struct vchain chain;

	if (pending <= 0)
		return pending;
	for (int i = 0; i < pending; i++) {
		struct iov_cursor in;
		int r = virtqueue_peek(vq, dev->mem, &chain, err);

		if (r < 0)
			return r;
		if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
			return error_set(err, errno, "cannot get random bytes");
		in = vchain_in(&chain);
		virtqueue_done(vq, dev->mem, &chain,
			       (uint32_t)iov_write(&in, bytes, sizeof(bytes)));
	}
	virtio_used(dev, vq);
	return 0;
}

static const struct virtio_ops rng_ops = {
    .name = "virtio-rng",
    .id = VIRTIO_ID_RNG,
    .queues = 1,
    .queue_size = 8,
    .notify = rng_notify,
};

void virtio_rng_init(struct virtio_rng *rng, const struct gmem *mem,
		     struct virtio_line line)
{
	virtio_init(&rng->dev, &rng_ops, mem, line, 0, NULL, 0);
}
