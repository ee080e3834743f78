/*
 * The frozen machines of the emulated host.
 *
 * Theory of operation
 *
 * VMs live inside of it, so their files do as well: on a file system of its own, ext4, on a
 * disk that is a sparse file in the outer vmctl's state directory. The broker inside has it
 * as its state directory, and what it does is what it does everywhere. What it has synced
 * is in that file, whenever QEMU ends. The file's size is what was free when it was made,
 * and what is removed is given back to the outer file system.
 */
#pragma once

#include "util/error.h"
#include "vmctl/store.h"

#define HOST_STATE_TARGET 1	  /* of the SCSI bus; 0 has the other disks */
#define HOST_STATE_WORD	  "state" /* on the kernel's command line: there is such a disk */

/**
 * host_state_prepare() - the outer side: have a disk in the directory of @store, which is
 * open. Return: its path, to free(), or NULL with @err filled.
 */
char *host_state_prepare(const struct store *store, struct error *err);

/**
 * host_state_mount() - the inner side: mount the disk.
 * @device: its block device.
 * Return: 0 or -errno with @err filled.
 */
int host_state_mount(const char *device, const char *dir, struct error *err);
