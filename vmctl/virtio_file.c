/*
 * A virtio device as bytes: what the driver has made of it. What the device offers is in
 * there too, and has to be what it offers when it comes back.
 */
#include "vmctl/virtio.h"

#include <errno.h>

static void save_queue(const struct virtqueue *vq, struct cursor *c)
{
	cursor_put_u16(c, vq->size);
	cursor_put_u8(c, vq->ready);
	cursor_put_u64(c, vq->desc);
	cursor_put_u64(c, vq->avail);
	cursor_put_u64(c, vq->used);
	cursor_put_u16(c, vq->next_avail);
	cursor_put_u16(c, vq->next_used);
}

void virtio_save(const struct virtio_device *dev, struct cursor *c)
{
	cursor_put_u32(c, dev->ops->id);
	cursor_put_u32(c, dev->ops->queues);
	cursor_put_u64(c, dev->features);
	cursor_put_u64(c, dev->driver_features);
	cursor_put_u32(c, dev->status);
	cursor_put_u32(c, dev->device_features_sel);
	cursor_put_u32(c, dev->driver_features_sel);
	cursor_put_u32(c, dev->queue_sel);
	cursor_put_u32(c, dev->interrupt_status);
	for (unsigned i = 0; i < dev->ops->queues; i++)
		save_queue(&dev->queues[i], c);
}

/* One that is ready has been checked, and is checked again. */
static int load_queue(const struct virtio_device *dev, struct virtqueue *vq,
		      struct cursor *c)
{
	uint16_t next_avail, next_used;
	bool ready;
	int r;

	vq->size = cursor_get_u16(c);
	ready = cursor_get_u8(c);
	vq->desc = cursor_get_u64(c);
	vq->avail = cursor_get_u64(c);
	vq->used = cursor_get_u64(c);
	next_avail = cursor_get_u16(c);
	next_used = cursor_get_u16(c);
	if (!ready || c->overflow)
		return c->overflow ? -EBADMSG : 0;
	r = virtio_enable(dev, vq, NULL);
	vq->next_avail = next_avail;
	vq->next_used = vq->told = next_used;
	return r < 0 ? -EBADMSG : 0;
}

int virtio_load(struct virtio_device *dev, struct cursor *c)
{
	uint32_t id = cursor_get_u32(c), queues = cursor_get_u32(c);
	uint64_t features = cursor_get_u64(c);
	int r = 0;

	if (c->overflow || id != dev->ops->id || queues != dev->ops->queues ||
	    features != dev->features)
		return -EBADMSG;
	dev->driver_features = cursor_get_u64(c);
	dev->status = cursor_get_u32(c);
	dev->device_features_sel = cursor_get_u32(c);
	dev->driver_features_sel = cursor_get_u32(c);
	dev->queue_sel = cursor_get_u32(c);
	dev->interrupt_status = cursor_get_u32(c);
	for (unsigned i = 0; i < queues && r == 0; i++)
		r = load_queue(dev, &dev->queues[i], c);
	return r;
}
