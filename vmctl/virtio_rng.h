/*
 * virtio entropy device (virtio 1.2, 5.4): the host kernel's generator.
 */
#pragma once

#include "vmctl/virtio.h"

struct virtio_rng {
	struct virtio_device dev;
};

/** virtio_rng_init() - a device that is ready for its driver. */
void virtio_rng_init(struct virtio_rng *rng, const struct gmem *mem,
		     struct virtio_line line);
