/*
 * Memory that programs free goes back to the host.
 */
#pragma once

#include "util/loop.h"

/** reclaim_init() - keep the driver at hand; while the initramfs is still there. */
void reclaim_init(void);

/** reclaim_soon() - a run has begun: let the kernel report free memory from now on. */
void reclaim_soon(struct loop *loop);
