/*
 * What a path means in a guest: symbolic links in it are followed there.
 *
 * Theory of operation: the guest's file server follows no links (wire/files.h), so that a
 * path is taken apart here. It is first asked for as a whole, which is all when there
 * is no link in it; else component by component, each link's target taking its place in
 * what is left. A target that begins with a slash begins at the guest's root, and ".."
 * stays there. So whatever the guest answers, and however often it changes its mind, the
 * outcome is a path in the guest, or an error.
 */
#pragma once

#include "pffs/core/sandbox.h"
#include "wire/files.h"

#define RESOLVE_LINKS_MAX 40 /* as Linux has it */

/* How. */
#define RESOLVE_NO_FOLLOW (1u << 0) /* what is named is meant, if it is a link */
#define RESOLVE_MISSING	  (1u << 1) /* the last components need not exist */

struct resolved {
	char path[FILES_PATH_MAX + 1]; /* without links, as wire/files.h has it */
	bool exists;
	size_t there; /* bytes of @path, of which there is something: a directory, or all */
	struct files_attr attr; /* if it exists */
};

struct resolve;

/** resolve_fn - @found is valid until it returns; or it is NULL, and @err says why. */
typedef void resolve_fn(void *ctx, const struct resolved *found, const struct error *err);

/**
 * resolve_begin() - find out what @path is in @sb. Slashes in front, in rows and at the end
 * are none.
 * @done: called once, later: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EIO, ETIMEDOUT.
 * Return: what resolve_cancel() takes until then, or NULL without memory.
 */
struct resolve *resolve_begin(struct sandbox *sb, const char *path, unsigned how,
			      resolve_fn *done, void *ctx);

/** resolve_cancel() - nobody wants to know any more: @done is not called. */
void resolve_cancel(struct resolve *resolve);
