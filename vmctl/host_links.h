/*
 * The images directory of the emulated host: links to the disks that QEMU shows.
 *
 * Theory of operation
 *
 * A disk is known by its unit on the SCSI bus (host_disks.h). QEMU has it before the
 * outer vmctl tells of it, but the kernel may not have looked yet: it is asked to, and
 * waited for until its driver has made a block device that can be opened, which is later
 * than sysfs shows it: a machine begins with that at once. A link is replaced by rename(2),
 * so that a template that is there stays there.
 *
 * The broker stands still during the wait. So a wait is for all new disks together, and
 * a disk that has not appeared is waited for once: units are never used again, and the
 * same ones are told on each port. Such a disk becomes a template when it is there by the
 * time that others change.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>

struct links {
	const char *images, *root;
	json_int_t generation; /* of what was taken last */
	json_t *linked;	       /* names and units */
	json_t *given_up;      /* likewise: waited for in vain */
	unsigned wait_ms;
};

/**
 * links_init() - link the upper disk; there are no templates yet.
 * @images: an empty directory; not copied, as @root, where `sys` and `dev` are: "" but in
 *	    tests.
 * Return: 0 or -errno with @err filled; links_fini() is due either way.
 */
int links_init(struct links *links, const char *images, const char *root,
	       struct error *err);
void links_fini(struct links *links);

/**
 * links_state() - wait for the disk of frozen machines (host_state.h).
 * Return: its block device, to free(), or NULL with @err filled.
 */
char *links_state(const struct links *links, struct error *err);

/**
 * links_take() - make the templates those of @disks.
 * @disks: `units`, an object, name to unit; `generation`, a number: nothing happens
 *	   unless it is larger than all before.
 *
 * Blocks until the kernel has the disks that are new. Those that do not appear in some
 * seconds are left out, which the console tells.
 */
void links_take(struct links *links, const json_t *disks);
