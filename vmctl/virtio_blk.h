/*
 * virtio block device (virtio 1.2, 5.2) on a struct disk. Requests are done
 * within the notify: the host's page cache answers most of them at once.
 */
#pragma once

#include "vmctl/disk.h"
#include "vmctl/virtio.h"

#include <linux/virtio_blk.h>

struct virtio_blk {
	struct virtio_device dev;
	struct virtio_blk_config config;
	struct disk *disk;
};

/**
 * virtio_blk_init() - a device that is ready for its driver.
 * @disk: outlives the device; a read-only one is offered as such.
 */
void virtio_blk_init(struct virtio_blk *blk, struct disk *disk, const struct gmem *mem,
		     struct virtio_line line);
