/*
 * A file of a guest, read as fast as somebody takes it.
 *
 * Theory of operation: the file is opened, and said what it is; then a part of it comes by
 * an outlet, piece by piece. When the machine is another one meanwhile (it was frozen, or
 * merged) it is opened again, and has to be what it was.
 */
#pragma once

#include "pffs/core/files/outlet.h"
#include "pffs/core/sandbox.h"
#include "wire/files.h"

struct reader;

/** reader_fn - the file is open, and @attr what it is; or NULL, and @err says why. */
typedef void reader_fn(void *ctx, const struct files_attr *attr, const struct error *err);

/**
 * reader_open() - open the regular file @path, as wire/files.h has it.
 * @opened: called once, later.
 * Return: what reader_close() takes, or NULL without memory.
 */
struct reader *reader_open(struct sandbox *sb, const char *path, reader_fn *opened,
			   void *ctx);

/**
 * reader_start() - once it is open: read @size bytes from @offset on.
 * Return: where they come from; to be closed, and the reader with it. It fails, EIO, when
 * the file is shorter than that.
 */
struct outlet *reader_start(struct reader *reader, uint64_t offset, uint64_t size,
			    void (*came)(void *ctx), void *ctx);

void reader_close(struct reader *reader);
