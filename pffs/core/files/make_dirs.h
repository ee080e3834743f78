/*
 * Directories of a guest, made as `mkdir -p` does.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct make_dirs;

/** make_dirs_fn - they are there, or @err says why not. */
typedef void make_dirs_fn(void *ctx, const struct error *err);

/**
 * make_dirs_begin() - make the directories of the first @len bytes of @path, as
 * wire/files.h has it. They are root's, with mode 0755.
 * @there: of these, a directory that exists.
 * @done: called once, later.
 * Return: what make_dirs_cancel() takes until then, or NULL without memory.
 */
struct make_dirs *make_dirs_begin(struct sandbox *sb, const char *path, size_t len,
				  size_t there, make_dirs_fn *done, void *ctx);

/** make_dirs_cancel() - nobody wants to know any more; some are there. */
void make_dirs_cancel(struct make_dirs *dirs);
