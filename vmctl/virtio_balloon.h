/*
 * virtio memory balloon device (virtio 1.2, 5.5): the guest gives memory back.
 *
 * What is free in the guest comes by the reporting queue, in blocks of 2 MiB and more,
 * two seconds after it became free (Linux, mm/page_reporting.c). The guest takes it
 * again by using it. The balloon itself stays empty, since its target is 0; a driver
 * that fills it all the same is served.
 */
#pragma once

#include "vmctl/virtio.h"

#include <linux/virtio_balloon.h>

struct virtio_balloon {
	struct virtio_device dev;
	struct virtio_balloon_config config;
};

/** virtio_balloon_init() - a device that is ready for its driver. */
void virtio_balloon_init(struct virtio_balloon *balloon, const struct gmem *mem,
			 struct virtio_line line);
