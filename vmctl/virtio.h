/*
 * A virtio device, and the virtio-mmio transport in front of it.
 *
 * Theory of operation: a device is a struct virtio_device inside a struct of
 * its own, and a small table of operations. The transport (virtio_mmio.c) owns
 * registers, negotiation and queue set-up; the device owns its queues' contents.
 * Everything runs under one lock, which the caller holds. All state is in these
 * structs, so a fork(2) of the process copies it.
 *
 * A driver that breaks the rules makes a function return -EPROTO. That ends the
 * VM; the device is not used again, so it may be left half way.
 */
#pragma once

#include "util/error.h"
#include "vmctl/gmem.h"
#include "vmctl/virtqueue.h"
#include "wire/cursor.h"

#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_QUEUES_MAX 8

struct virtio_device;

struct virtio_ops {
	const char *name; /* for sentences: "virtio-blk" */
	uint32_t id;	  /* virtio 1.2, chapter 5 */
	unsigned queues;
	uint16_t queue_size; /* largest size of each, a power of two */

	/* The driver has put chains into @queue, which is ready. 0 or -errno. */
	int (*notify)(struct virtio_device *dev, unsigned queue, struct error *err);

	/* Forget everything about the driver; may be NULL. */
	void (*reset)(struct virtio_device *dev);
};

/* Where the interrupt line of a device ends. */
struct virtio_line {
	void (*set)(void *opaque, unsigned gsi, bool high);
	void *opaque;
	unsigned gsi;
};

struct virtio_device {
	const struct virtio_ops *ops;
	const struct gmem *mem;
	struct virtio_line line;
	uint64_t features;  /* offered */
	const void *config; /* device configuration space, read-only and constant */
	uint32_t config_len;

	uint64_t driver_features; /* accepted */
	uint32_t status;	  /* virtio 1.2, 2.1 */
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint32_t interrupt_status;
	bool line_high;
	struct virtqueue queues[VIRTIO_QUEUES_MAX];
};

/**
 * virtio_init() - a device in its state after power on.
 * @features:	device features; VIRTIO_F_VERSION_1 is added.
 * @config:	its configuration space, which outlives the device.
 */
void virtio_init(struct virtio_device *dev, const struct virtio_ops *ops,
		 const struct gmem *mem, struct virtio_line line, uint64_t features,
		 const void *config, uint32_t config_len);

/** virtio_running() - the driver has set DRIVER_OK. */
bool virtio_running(const struct virtio_device *dev);

/**
 * virtio_enable() - @vq, one of the device's, is as the driver has set it up.
 * Return: as virtqueue_enable().
 */
int virtio_enable(const struct virtio_device *dev, struct virtqueue *vq, struct error *err);

/** virtio_used() - tell the driver about used buffers, if it wants to hear. */
void virtio_used(struct virtio_device *dev, struct virtqueue *vq);

/**
 * virtio_wake() - in a process that has just been forked: raise the interrupt line
 * again, which KVM does not save, and look at every queue.
 * Return: as virtio_mmio_write().
 */
int virtio_wake(struct virtio_device *dev, struct error *err);

/** virtio_save() - what the driver has made of the device, as bytes. */
void virtio_save(const struct virtio_device *dev, struct cursor *c);

/** virtio_load() - into a device in its state after power on, before virtio_wake().
 * Return: 0, or -EBADMSG when it cannot be; then the device is of no use. */
int virtio_load(struct virtio_device *dev, struct cursor *c);

/** virtio_mmio_read() - the guest reads @len bytes at @offset of the window. */
void virtio_mmio_read(struct virtio_device *dev, uint64_t offset, void *data, unsigned len);

/**
 * virtio_mmio_write() - the guest writes @len bytes at @offset of the window.
 * Return: 0, or -errno with @err filled when that ends the VM.
 */
int virtio_mmio_write(struct virtio_device *dev, uint64_t offset, const void *data,
		      unsigned len, struct error *err);
