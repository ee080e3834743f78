/*
 * A file of a guest that is written whole, or not at all.
 *
 * Theory of operation: what comes is written to a new file beside the one that it will be;
 * at the end that gets its mode, owner and time, and then its name, by a rename. If it
 * comes to no end the new file is removed. Directories that are missing are made.
 */
#pragma once

#include "pffs/core/sandbox.h"
#include "wire/files.h"

#define WRITER_ENOUGH (1u << 20) /* bytes that were given, and are not written */

struct writer;

struct writer_order {
	const char *path; /* as wire/files.h has it; no directory */
	size_t there;	  /* so many bytes of it are a directory that exists */
	uint32_t mode, uid, gid;
	bool has_mtime;
	int64_t mtime_ns;
};

/** writer_fn - it is in its place, or @err says why not. */
typedef void writer_fn(void *ctx, const struct error *err);

/**
 * writer_begin() - begin.
 * @room: called, later, when it is not full any more.
 * @done: called once, later: after writer_end(), or when it fails before. The writer is
 *        gone then.
 * Return: NULL without memory.
 */
struct writer *writer_begin(struct sandbox *sb, const struct writer_order *order,
			    void (*room)(void *ctx), writer_fn *done, void *ctx);

/** writer_put() - more bytes. They are taken, all of them, also when it is full. */
int writer_put(struct writer *writer, const void *data, size_t len);

/** writer_is_full() - wait with more until @room is called. */
bool writer_is_full(const struct writer *writer);

/** writer_end() - that was all: put it in its place. */
void writer_end(struct writer *writer);

/** writer_abort() - there will be no end: @done is not called, and nothing is left. */
void writer_abort(struct writer *writer);
