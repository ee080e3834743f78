/*
 * The virtio-mmio transport, version 2 (virtio 1.2, 4.2). Registers are 32 bits
 * wide; an access of another width, or to a register that does not exist, reads
 * as zero and writes nothing.
 */
#include "vmctl/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>

#define MAGIC	0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR	0x53464650 /* "PFFS" */

/* The selected queue, or NULL when the device has no such queue. */
static struct virtqueue *selected_queue(struct virtio_device *dev)
{
	return dev->queue_sel < dev->ops->queues ? &dev->queues[dev->queue_sel] : NULL;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static uint32_t read_register(struct virtio_device *dev, uint64_t offset)
{
	const struct virtqueue *vq = selected_queue(dev);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return feature_word(dev->features, dev->device_features_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vq ? vq->size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return vq ? vq->ready : 0;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return dev->interrupt_status;
	case VIRTIO_MMIO_STATUS:
		return dev->status;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX; /* no shared memory region */
	default:
		/* The configuration generation is always 0: it never changes. */
		return 0;
	}
}

void virtio_mmio_read(struct virtio_device *dev, uint64_t offset, void *data, unsigned len)
{
	uint32_t value;

	memset(data, 0, len);
	if (offset >= VIRTIO_MMIO_CONFIG) {
		uint64_t at = offset - VIRTIO_MMIO_CONFIG;

		if (at <= dev->config_len && len <= dev->config_len - at)
			memcpy(data, (const uint8_t *)dev->config + at, len);
		return;
	}
	if (len != 4)
		return;
	value = read_register(dev, offset);
	memcpy(data, &value, 4);
}

static void lower_line(struct virtio_device *dev)
{
	if (dev->line_high)
		dev->line.set(dev->line.opaque, dev->line.gsi, false);
	dev->line_high = false;
}

static void reset(struct virtio_device *dev)
{
	dev->driver_features = 0;
	dev->status = 0;
	dev->device_features_sel = dev->driver_features_sel = dev->queue_sel = 0;
	dev->interrupt_status = 0;
	lower_line(dev);
	for (unsigned i = 0; i < dev->ops->queues; i++)
		virtqueue_reset(&dev->queues[i]);
	if (dev->ops->reset)
		dev->ops->reset(dev);
}

static int notify(struct virtio_device *dev, uint32_t queue, struct error *err)
{
	struct error why;
	int r;

	if (!virtio_running(dev) || queue >= dev->ops->queues || !dev->queues[queue].ready)
		return 0;
	r = dev->ops->notify(dev, queue, &why);
	if (r == -EPROTO)
		return error_say(err, EPROTO, "the guest broke the rules of %s: %s",
				 dev->ops->name, why.text);
	if (r < 0)
		return error_say(err, -r, "%s failed: %s", dev->ops->name, why.text);
	return 0;
}

/* A driver that skipped notifies before DRIVER_OK is served now. */
static int start(struct virtio_device *dev, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; i < dev->ops->queues && !r; i++)
		r = notify(dev, i, err);
	return r;
}

int virtio_wake(struct virtio_device *dev, struct error *err)
{
	dev->line_high = dev->interrupt_status;
	dev->line.set(dev->line.opaque, dev->line.gsi, dev->line_high);
	return start(dev, err);
}

static bool features_fit(const struct virtio_device *dev)
{
	return !(dev->driver_features & ~dev->features) &&
	       dev->driver_features & 1ull << VIRTIO_F_VERSION_1;
}

static int set_status(struct virtio_device *dev, uint32_t status, struct error *err)
{
	uint32_t added = status & ~dev->status;

	if (!status) {
		reset(dev);
		return 0;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK && !features_fit(dev))
		status &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
		status &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
	dev->status |= status & 0xff;
	return added & status & VIRTIO_CONFIG_S_DRIVER_OK ? start(dev, err) : 0;
}

static void set_driver_features(struct virtio_device *dev, uint32_t value)
{
	unsigned shift = 32 * dev->driver_features_sel;

	if (dev->driver_features_sel > 1 || dev->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	dev->driver_features &= ~((uint64_t)UINT32_MAX << shift);
	dev->driver_features |= (uint64_t)value << shift;
}

static int set_ready(struct virtio_device *dev, struct virtqueue *vq, uint32_t value,
		     struct error *err)
{
	struct error why;
	int r;

	if (!value) {
		virtqueue_reset(vq);
		return 0;
	}
	if (vq->ready)
		return 0;
	r = virtio_enable(dev, vq, &why);
	if (r < 0)
		return error_say(err, -r, "the guest broke the rules of %s: %s",
				 dev->ops->name, why.text);
	return 0;
}

static void set_low(uint64_t *address, uint32_t value)
{
	*address = (*address & ~(uint64_t)UINT32_MAX) | value;
}

static void set_high(uint64_t *address, uint32_t value)
{
	*address = (*address & UINT32_MAX) | (uint64_t)value << 32;
}

/* The selected queue's registers. A queue that is ready keeps its addresses. */
static int write_queue_register(struct virtio_device *dev, uint64_t offset, uint32_t value,
				struct error *err)
{
	struct virtqueue *vq = selected_queue(dev);

	if (!vq)
		return 0;
	if (offset == VIRTIO_MMIO_QUEUE_READY)
		return set_ready(dev, vq, value, err);
	if (vq->ready)
		return 0;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		vq->size = value > UINT16_MAX ? 0 : (uint16_t)value;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&vq->desc, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&vq->desc, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&vq->avail, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&vq->avail, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&vq->used, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&vq->used, value);
		break;
	}
	return 0;
}

int virtio_mmio_write(struct virtio_device *dev, uint64_t offset, const void *data,
		      unsigned len, struct error *err)
{
	uint32_t value;

	if (len != 4)
		return 0;
	memcpy(&value, data, 4);
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->device_features_sel = value;
		return 0;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->driver_features_sel = value;
		return 0;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		set_driver_features(dev, value);
		return 0;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->queue_sel = value;
		return 0;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		return notify(dev, value, err);
	case VIRTIO_MMIO_INTERRUPT_ACK:
		dev->interrupt_status &= ~value;
		if (!dev->interrupt_status)
			lower_line(dev);
		return 0;
	case VIRTIO_MMIO_STATUS:
		return set_status(dev, value, err);
	default:
		return write_queue_register(dev, offset, value, err);
	}
}
