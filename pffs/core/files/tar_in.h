/*
 * A tar, taken out into a directory of a guest.
 *
 * Theory of operation: entry by entry, in the tar's order, and no further than the first
 * error; what was taken out before stays. Each file is written whole or not at all
 * (writer.h). Names are relative to the directory, also those that begin with a slash; one
 * with ".." is an error, and so is one that leads through a symbolic link, which is
 * followed nowhere. Links in the tar are made as they are: what they mean they mean inside
 * the guest. Devices and sockets are left out. Directories get their times at the end.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct tar_in;

/** tar_in_fn - all is there, or @err says why not. */
typedef void tar_in_fn(void *ctx, const struct error *err);

/**
 * tar_in_begin() - begin.
 * @path: the directory, as wire/files.h has it; it exists.
 * @room: called when there is room again.
 * @done: called once, later. It is gone then.
 * Return: NULL with @err filled.
 */
struct tar_in *tar_in_begin(struct sandbox *sb, const char *path, void (*room)(void *ctx),
			    tar_in_fn *done, void *ctx, struct error *err);

/** tar_in_put() - more of the tar. Return: 0 or -ENOMEM. */
int tar_in_put(struct tar_in *tar, const void *data, size_t len);

/** tar_in_is_full() - wait with more until @room is called. */
bool tar_in_is_full(const struct tar_in *tar);

/** tar_in_eof() - that was all. */
void tar_in_eof(struct tar_in *tar);

/** tar_in_abort() - @done is not called; what has been taken out stays. */
void tar_in_abort(struct tar_in *tar);
