/*
 * A tar of what is below a directory of a guest, or of one file, made as fast as somebody
 * takes it.
 *
 * Theory of operation: the tree is walked depth first, a directory's entries by name; files
 * are read piece by piece, so that no file is in memory as a whole. libarchive makes the
 * bytes, in pax format. What goes away meanwhile is left out; a file that becomes shorter
 * while it is read ends it all, as its length has been said. Names are relative to the
 * directory. There are no sockets in it, which tar does not know, and no devices, which
 * would be dangerous for whoever takes it out.
 */
#pragma once

#include "pffs/core/files/outlet.h"
#include "pffs/core/sandbox.h"
#include "wire/files.h"

/**
 * tar_out() - begin.
 * @path: as wire/files.h has it, and @attr what it is.
 * Return: where the tar comes from, or NULL without memory.
 */
struct outlet *tar_out(struct sandbox *sb, const char *path, const struct files_attr *attr,
		       void (*came)(void *ctx), void *ctx);
