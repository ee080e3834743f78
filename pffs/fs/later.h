/*
 * A request about a sandbox that is answered when a machine has done what it asks for.
 * Its session, and the sandbox, live until then. To be a part of what is kept for it.
 */
#pragma once

#include "pffs/fs/fs.h"

struct later {
	fuse_req_t req;
	struct fs *fs;
	struct sandbox *sb; /* reference, or NULL */
	size_t len;	    /* of a write */
};

/** later_init() - from now on it is owed, until later_fini(). */
void later_init(struct later *later, fuse_req_t req, struct fs *fs, struct sandbox *sb,
		size_t len);

/** later_answer_write() - all of it was written, or @err, if any. */
void later_answer_write(const struct later *later, const struct error *err);

/** later_fini() - it was answered. What it is a part of lives on; its session may not. */
void later_fini(struct later *later);
