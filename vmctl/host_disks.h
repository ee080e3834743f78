/*
 * The disks of the emulated host: the templates in the images directory, as they
 * come and go.
 *
 * Theory of operation
 *
 * QEMU is started with one disk, the guests' upper one, on a virtio-scsi bus. Each
 * template is one more disk there, read-only, added through QEMU's monitor under a
 * logical unit number of its own, which is never given to another one. Which number
 * is which template is what the broker inside is told, in LINK_DISKS frames, with all of
 * them each time. Every port is told for itself, so that a request is behind what it needs
 * to know; the generation shows the broker what it knows already.
 *
 * The directory is looked at when it matters: before each request of a client goes
 * to the broker. A file that is new, or another one under a known name, is added as a
 * disk, and requests wait until QEMU has it and the broker has been told. So a template
 * can be used as soon as its image is there, and whoever asks after an image was replaced
 * gets the new one. A disk whose image was replaced or removed keeps its number and its
 * (by now unlinked) file until the emulated host ends, because machines may use it.
 *
 * What QEMU has is written down (host_dir.h) before anybody is told of it, and the number
 * of a disk before it is added. So the next vmctl goes on from there; a disk that was being
 * added when this one was killed is added again, with another number.
 */
#pragma once

#include "util/error.h"
#include "util/loop.h"
#include "vmctl/host_dir.h"
#include "vmctl/qmp.h"

#include <jansson.h>
#include <stdbool.h>

struct disk;

struct disks {
	struct qmp *qmp;
	const struct host_dir *dir;
	const char *images;
	struct disk *list;   /* what is in the directory now */
	unsigned last_unit;  /* given to a disk */
	unsigned adding;     /* disks that QEMU has not answered for */
	unsigned generation; /* changes with what disks_describe() says; never 0 */
	void (*on_settled)(struct disks *disks);
};

/**
 * disks_init() - prepare; there is what QEMU was given by a former vmctl.
 * @qmp, @dir, @images: must outlive @disks.
 * @on_settled:	  called when disks_settle() said false and would say true now.
 * Return: 0 or -errno; disks_fini() is right either way.
 */
int disks_init(struct disks *disks, struct qmp *qmp, const struct host_dir *dir,
	       const char *images, void (*on_settled)(struct disks *disks));
void disks_fini(struct disks *disks);

/** disks_known() - is what a former vmctl gave to QEMU written down?
 * Return: 1, 0 or -errno. */
int disks_known(const struct host_dir *dir);

/**
 * disks_settle() - look at the images directory and add what is new.
 * Return: whether QEMU has all disks now.
 */
bool disks_settle(struct disks *disks);

/** disks_describe() - what LINK_DISKS tells the broker. Return: new, or NULL. */
json_t *disks_describe(const struct disks *disks);
