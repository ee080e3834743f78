/*
 * How what is in the guest is shown on the host: owners, numbers of inodes, targets of
 * symbolic links. Pure functions.
 */
#pragma once

#include "wire/files.h"

#include <sys/stat.h>
#include <sys/types.h>

/**
 * files_swap_id() - a user or a group of the guest as the host shows it, and back.
 * @owner: the sandbox's. The guest's root is shown as the owner, and the owner's number
 *         in the guest as root; every other one is what it is.
 */
static inline uint32_t files_swap_id(uint32_t id, uint32_t owner)
{
	return id == 0 ? owner : id == owner ? 0 : id;
}

/**
 * files_ino() - st_ino of a file of the guest: equal for two names of one file, and
 * different for files of different sandboxes.
 * @serial: the sandbox's.
 */
uint64_t files_ino(uint64_t serial, const struct files_attr *attr);

/** files_attr_ok() - a type that there is, and numbers that stat(2) can show. */
bool files_attr_ok(const struct files_attr *attr);

/**
 * files_link_target() - what readlink(2) shows, so that nobody who follows it leaves the
 * root that it is in: "../" as often as needed, never more than @depth times, then
 * clean components. An absolute target is made relative to the root; ".." above the
 * root stays there.
 * @depth:  directories between the link and the root.
 * @target: @len bytes from the guest.
 * @to:     receives a C string.
 * @room:   of @to, 1 or more.
 *
 * Return: 0, -EIO for no target that a link can have, -ENAMETOOLONG.
 */
int files_link_target(unsigned depth, const void *target, size_t len, char *to,
		      size_t room);
