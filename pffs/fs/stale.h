/*
 * Telling the kernel that attributes which it keeps are not true any more.
 *
 * Theory of operation: fs/ has the kernel keep attributes of the guest's files as long as
 * they are known to be true (core/files_cache.h), and names at least for a second. When the
 * guest changes something, the kernel is told to forget the attributes, at once and before
 * anybody hears of what the guest did next. Linux since 6.16 also looks up all names anew
 * from then on, and so keeps names for as long as the attributes. To an older one no names
 * can be told, since that takes a lock which a program may hold that waits for us. But
 * whoever uses a name without attributes has to ask for these; then the answer is ESTALE
 * when the name stands for another file, and the kernel looks the name up. What is left
 * there is a name that was a directory's and is a file's now, or the other way round: it is
 * wrong until the second is over.
 *
 * A program that has been answered may not have run yet, so that the kernel does not know
 * the file of which it is to forget something: it is told again, AGAIN_MS later.
 */
#pragma once

#include "util/list.h"
#include "util/loop.h"

struct fs;

struct stale {
	struct link again; /* struct again */
	unsigned count;
	struct loop_timer timer;
	bool epochs; /* the kernel can be told to look up all names anew */
};

/** stale_init() - of a mount that has been made: also finds out what its kernel can be
 * told. */
void stale_init(struct fs *fs);

/** stale_fini() - it goes. */
void stale_fini(struct fs *fs);
