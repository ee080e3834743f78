/*
 * What a driver does with a virtio device up to DRIVER_OK. The rings of queue N lie at N
 * times QUEUE_ROOM, those of all devices at the same place.
 */
#pragma once

#include "vmctl/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#define QUEUE_ROOM 0x2000u
#define AVAIL_AT   0x1000u /* from there on */
#define USED_AT	   0x1400u

static inline uint64_t rings_of(unsigned queue)
{
	return (uint64_t)queue * QUEUE_ROOM;
}

static inline int set_register(struct virtio_device *dev, uint64_t offset, uint32_t value,
			       struct error *err)
{
	return virtio_mmio_write(dev, offset, &value, sizeof(value), err);
}

static inline int set_queue(struct virtio_device *dev, unsigned queue, uint32_t size,
			    struct error *err)
{
	uint32_t at = (uint32_t)rings_of(queue);

	set_register(dev, VIRTIO_MMIO_QUEUE_SEL, queue, err);
	set_register(dev, VIRTIO_MMIO_QUEUE_NUM, size, err);
	set_register(dev, VIRTIO_MMIO_QUEUE_DESC_LOW, at, err);
	set_register(dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, at + AVAIL_AT, err);
	set_register(dev, VIRTIO_MMIO_QUEUE_USED_LOW, at + USED_AT, err);
	return set_register(dev, VIRTIO_MMIO_QUEUE_READY, 1, err);
}

/** driver_probe() - reset the device and set it up. @size: of its queues. */
static inline int driver_probe(struct virtio_device *dev, uint64_t features, uint32_t size,
			       struct error *err)
{
	const uint32_t status = VIRTIO_CONFIG_S_FEATURES_OK;
	int r = 0;

	set_register(dev, VIRTIO_MMIO_STATUS, 0, err);
	set_register(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0, err);
	set_register(dev, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features, err);
	set_register(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1, err);
	set_register(dev, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32) | 1, err);
	set_register(dev, VIRTIO_MMIO_STATUS, status, err);
	for (unsigned i = 0; i < dev->ops->queues && r == 0; i++)
		r = set_queue(dev, i, size, err);
	return r ? r
		 : set_register(dev, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK,
				err);
}
