#include "vmctl/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

void virtio_init(struct virtio_device *dev, const struct virtio_ops *ops,
		 const struct gmem *mem, struct virtio_line line, uint64_t features,
		 const void *config, uint32_t config_len)
{
	*dev = (struct virtio_device){
	    .ops = ops,
	    .mem = mem,
	    .line = line,
	    .features = features | 1ull << VIRTIO_F_VERSION_1,
	    .config = config,
	    .config_len = config_len,
	};
	for (unsigned i = 0; i < ops->queues; i++) {
		dev->queues[i].size_max = ops->queue_size;
		dev->queues[i].indirect = features & 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	}
}

bool virtio_running(const struct virtio_device *dev)
{
	return dev->status & VIRTIO_CONFIG_S_DRIVER_OK;
}

int virtio_enable(const struct virtio_device *dev, struct virtqueue *vq, struct error *err)
{
	vq->events = dev->driver_features & 1ull << VIRTIO_RING_F_EVENT_IDX;
	return virtqueue_enable(vq, dev->mem, err);
}

void virtio_used(struct virtio_device *dev, struct virtqueue *vq)
{
	if (!virtqueue_wants_interrupt(vq, dev->mem))
		return;
	dev->interrupt_status |= VIRTIO_MMIO_INT_VRING;
	if (dev->line_high)
		return;
	dev->line_high = true;
	dev->line.set(dev->line.opaque, dev->line.gsi, true);
}
