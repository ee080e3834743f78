/*
 * The mounts of this machine: what is mounted where, and how that ends.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>

/**
 * mounts_find() - find a sandbox.
 * @sandbox: path of its directory; or its name alone, when there is one mount.
 * @path:    set to the directory's path, to free().
 *
 * Return: 0 or -errno with @err filled; it is to be freed in any case.
 */
int mounts_find(const char *sandbox, char **path, struct error *err);

/**
 * mounts_resolve() - likewise, in a mount of all sandboxes.
 * @mount:   set to the path of the mount that it is in, to free().
 *
 * Return: 0 or -errno with @err filled; both are to be freed in any case.
 */
int mounts_resolve(const char *sandbox, char **path, char **mount, struct error *err);

/**
 * mounts_explain() - say why an operation in @dir, a sandbox or a mount, failed: @errnum,
 * unless its `error` has a sentence for it. Return: -@errnum, with @err filled.
 */
int mounts_explain(const char *dir, int errnum, const char *what, struct error *err);

/** mounts_holding() - the mount of all sandboxes that @path, a resolved path, is below.
 * Return: its path to free(), or NULL. */
char *mounts_holding(const char *path);

/** mounts_at() - is a pffs, or a sandbox of one, mounted at @dir, a resolved path? */
bool mounts_at(const char *dir);

/**
 * mounts_dead() - does @errnum, of a look at a mount, say that nobody serves it any more?
 *
 * Who looks while the last process that held its descriptor is ending gets ECONNABORTED: a
 * pffs that was killed leaves one behind that writes to the disk. Later it is ENOTCONN.
 */
bool mounts_dead(int errnum);

/* What is mounted, but for a mount of a single sandbox. */
#define MOUNTS_WHOLE "pffs"

/**
 * mounts_make() - mount with nobody to serve it yet.
 * @name: of what is mounted.
 *
 * Return: a descriptor of /dev/fuse, or -errno with @err filled.
 */
int mounts_make(const char *dir, const char *name, bool allow_other, struct error *err);

/**
 * mounts_unmount() - unmount. Whoever may not do so is helped by fusermount3, as at
 * mounting.
 * @flags: of umount2(2): 0 or MNT_DETACH.
 *
 * Return: 0 or -errno.
 */
int mounts_unmount(const char *dir, int flags);
