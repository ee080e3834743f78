/*
 * Where things are on this machine, and how the environment changes it.
 */
#pragma once

#include "util/error.h"

/**
 * paths_runtime_dir() - the directory for sockets and logs of this user:
 * $PFFS_RUNTIME_DIR, else /run/pffs for root, else $XDG_RUNTIME_DIR/pffs, else
 * /tmp/pffs-UID. Made when missing.
 * Return: a string to free(), or NULL with @err filled.
 */
char *paths_runtime_dir(struct error *err);

/** paths_socket() - vmctl's socket: $PFFS_VMCTL_SOCKET or in the runtime directory. */
char *paths_socket(struct error *err);

/** paths_images() - $PFFS_IMAGES or /var/cache/pffs; borrowed. */
const char *paths_images(void);

/**
 * paths_state() - the directory of frozen sandboxes: $PFFS_STATE, else /var/lib/pffs for
 * root, else $XDG_STATE_HOME/pffs or ~/.local/state/pffs. Return: a string to free(), or
 * NULL: there is none.
 */
char *paths_state(void);

/** paths_spool() - where long output is kept: $TMPDIR or /var/tmp; borrowed. */
const char *paths_spool(void);

/**
 * paths_vmctl() - the vmctl program: $PFFS_VMCTL, beside this program, in the build
 * tree, or where it is installed.
 * Return: a string to free(), or NULL with @err filled.
 */
char *paths_vmctl(struct error *err);

/**
 * paths_build() - the script that makes images: of the build tree, or installed.
 * Return: as paths_vmctl().
 */
char *paths_build(struct error *err);
