#include "vmctl/virtio_balloon.h"

#include <errno.h>
#include <linux/virtio_ids.h>

#define PAGE	  (1ull << VIRTIO_BALLOON_PFN_SHIFT)
#define PAGES_MAX 1024 /* in one chain of page numbers; Linux sends 256 */

/*
 * Without the features that come before it, reporting is the third queue: Linux and
 * QEMU count the queues that there are.
 */
enum { INFLATE, DEFLATE, REPORTING, QUEUES };

/* Linux reports 32 blocks at once and wants them to fit the queue. */
#define QUEUE_SIZE 64

/* Pages that the driver put into the balloon, by their numbers. */
static int inflate(const struct gmem *mem, const struct vchain *chain, struct error *err)
{
	struct iov_cursor out = vchain_out(chain);
	uint32_t count = chain->out / sizeof(uint32_t), pfn;

	if (chain->out % sizeof(pfn) || count > PAGES_MAX)
		return error_say(err, EPROTO, "%u bytes of page numbers are not possible",
				 chain->out);
	while (count--) {
		void *page;

		iov_read(&out, &pfn, sizeof(pfn));
		page = gmem_ptr(mem, pfn * PAGE, PAGE);
		if (!page)
			return error_say(err, EPROTO, "page 0x%x is not in memory", pfn);
		gmem_release(mem, page, PAGE);
	}
	return 0;
}

/* Free memory, as the buffers of the chain itself. */
static void report(const struct gmem *mem, const struct vchain *chain)
{
	const struct iovec *free = chain->iov + chain->nout;

	for (unsigned i = 0; i < chain->nin; i++)
		gmem_release(mem, free[i].iov_base, free[i].iov_len);
}

static int balloon_notify(struct virtio_device *dev, unsigned queue, struct error *err)
{
	struct virtqueue *vq = &dev->queues[queue];
	int pending = virtqueue_pending(vq, dev->mem, err);
	struct vchain chain;

	if (pending <= 0)
		return pending;
	for (int i = 0; i < pending; i++) {
		int r = virtqueue_peek(vq, dev->mem, &chain, err);

		if (r < 0)
			return r;
		if (queue == INFLATE)
			r = inflate(dev->mem, &chain, err);
		else if (queue == REPORTING)
			report(dev->mem, &chain);
		if (r < 0)
			return r;
		virtqueue_done(vq, dev->mem, &chain, 0);
	}
	virtio_used(dev, vq);
	return 0;
}

static const struct virtio_ops balloon_ops = {
    .name = "virtio-balloon",
    .id = VIRTIO_ID_BALLOON,
    .queues = QUEUES,
    .queue_size = QUEUE_SIZE,
    .notify = balloon_notify,
};

void virtio_balloon_init(struct virtio_balloon *balloon, const struct gmem *mem,
			 struct virtio_line line)
{
	balloon->config = (struct virtio_balloon_config){0};
	virtio_init(&balloon->dev, &balloon_ops, mem, line,
		    1ull << VIRTIO_BALLOON_F_REPORTING, &balloon->config,
		    sizeof(balloon->config));
}
