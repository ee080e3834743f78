/*
 * The driver's side of a virtio device, for tests: registers and rings alone.
 */
#pragma once

#include "tests/unit/tap.h"
#include "vmctl/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#define RAM	(4u << 20)
#define SIZE	8u
#define QUEUES	0x10000u /* queue N is at QUEUES + N * 0x1000 */
#define BUFFERS 0x100000u

static struct gmem mem;
static struct error err;
static bool line_high;
static unsigned line_changes;
static uint16_t taken[VIRTIO_QUEUES_MAX]; /* used entries that the driver has seen */

static inline void set_line(void *opaque, unsigned gsi, bool high)
{
	(void)opaque;
	(void)gsi;
	line_high = high;
	line_changes++;
}

static const struct virtio_line line = {.set = set_line};

static inline uint32_t reg(struct virtio_device *dev, uint64_t offset)
{
	uint32_t value;

	virtio_mmio_read(dev, offset, &value, 4);
	return value;
}

static inline int set(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
	err.text[0] = '\0';
	return virtio_mmio_write(dev, offset, &value, 4, &err);
}

static inline uint64_t desc_at(unsigned queue)
{
	return QUEUES + queue * 0x1000ull;
}

static inline uint64_t avail_at(unsigned queue)
{
	return desc_at(queue) + 0x400;
}

static inline uint64_t used_at(unsigned queue)
{
	return desc_at(queue) + 0x800;
}

static inline struct vring_avail *avail_ring(unsigned queue)
{
	return gmem_ptr(&mem, avail_at(queue), 4 + SIZE * 2 + 2);
}

static inline struct vring_used *used_ring(unsigned queue)
{
	return gmem_ptr(&mem, used_at(queue), 4 + SIZE * 8 + 2);
}

/* The index of the used ring that the driver wants to hear of, and that of the available
 * ring that the device wants to: with VIRTIO_RING_F_EVENT_IDX. */
static inline uint16_t *used_event(unsigned queue)
{
	return &avail_ring(queue)->ring[SIZE];
}

static inline uint16_t avail_event(unsigned queue)
{
	const uint16_t *event = gmem_ptr(&mem, used_at(queue) + 4 + SIZE * 8ull, 2);

	return *event;
}

static inline int set_queue(struct virtio_device *dev, unsigned queue, uint64_t at)
{
	set(dev, VIRTIO_MMIO_QUEUE_SEL, queue);
	set(dev, VIRTIO_MMIO_QUEUE_NUM, SIZE);
	set(dev, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)at);
	set(dev, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(at >> 32));
	set(dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail_at(queue));
	set(dev, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used_at(queue));
	return set(dev, VIRTIO_MMIO_QUEUE_READY, 1);
}

static inline uint64_t offered(struct virtio_device *dev)
{
	uint64_t features;

	set(dev, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	features = (uint64_t)reg(dev, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	set(dev, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return features | reg(dev, VIRTIO_MMIO_DEVICE_FEATURES);
}

static inline uint32_t negotiate(struct virtio_device *dev, uint64_t features)
{
	set(dev, VIRTIO_MMIO_STATUS, 0);
	set(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	set(dev, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	set(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	set(dev, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	set(dev, VIRTIO_MMIO_STATUS,
	    VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		VIRTIO_CONFIG_S_FEATURES_OK);
	return reg(dev, VIRTIO_MMIO_STATUS);
}

static inline int go(struct virtio_device *dev)
{
	return set(dev, VIRTIO_MMIO_STATUS,
		   reg(dev, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Everything that a driver does up to DRIVER_OK. */
static inline void probe_with(struct virtio_device *dev, uint64_t features)
{
	memset(mem.base, 0, RAM);
	memset(taken, 0, sizeof(taken));
	negotiate(dev, features);
	for (unsigned i = 0; i < dev->ops->queues; i++)
		set_queue(dev, i, desc_at(i));
	go(dev);
}

static inline void probe(struct virtio_device *dev)
{
	probe_with(dev, offered(dev));
}

/* A chain of @nout buffers to read and @nin to write, from descriptor @head on. */
static inline void chain(unsigned queue, uint16_t head, const struct iovec *iov,
			 unsigned nout, unsigned nin)
{
	struct vring_desc *desc = gmem_ptr(&mem, desc_at(queue), SIZE * sizeof(*desc));
	struct vring_avail *avail = avail_ring(queue);

	for (unsigned i = 0; i < nout + nin; i++)
		desc[head + i] = (struct vring_desc){
		    .addr = (uint64_t)((uint8_t *)iov[i].iov_base - mem.base),
		    .len = (uint32_t)iov[i].iov_len,
		    .flags = (uint16_t)((i < nout ? 0 : VRING_DESC_F_WRITE) |
					(i + 1 < nout + nin ? VRING_DESC_F_NEXT : 0)),
		    .next = (uint16_t)(head + i + 1),
		};
	avail->ring[avail->idx % SIZE] = head;
	avail->idx++;
}

static inline uint8_t *buffer(unsigned n)
{
	return mem.base + BUFFERS + n * 0x10000ull;
}

/* The length of the next used entry, or -1 without one. */
static inline int64_t next_used(unsigned queue)
{
	const struct vring_used *used = used_ring(queue);

	if (used->idx == taken[queue])
		return -1;
	return used->ring[taken[queue]++ % SIZE].len;
}

static inline int notify(struct virtio_device *dev, unsigned queue)
{
	return set(dev, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}
