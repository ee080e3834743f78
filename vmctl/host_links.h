/*
 * The images directory of the emulated host: links to the disks that QEMU shows.
 *
 * Theory of operation
 *
 * A disk is known by its unit on the SCSI bus (host_disks.h). QEMU has it before the
 * outer vmctl tells of it, but the kernel may not have looked yet: it is asked to, and
 * waited for until its driver has made a block device. A link is replaced by rename(2),
 * so that a template that is there stays there.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>

/** links_init() - link the upper disk. Return: 0 or -errno with @err filled. */
int links_init(const char *images, struct error *err);

/**
 * links_take() - make the templates those of @units: an object, name to unit.
 * Blocks until the kernel has the disks. One that does not appear in some seconds is
 * left out, which the console tells.
 */
void links_take(const char *images, const json_t *units);
