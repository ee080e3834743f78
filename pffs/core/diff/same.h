/*
 * Whether two files are the same, as far as the trees of their machines tell.
 *
 * Theory of operation: what a copy of a disk has with the same inode, size and times is
 * what it was when it was copied. But what a guest's clock shows is the same for a tick,
 * so a file that is written before a fork and again after it may look as if it had not
 * been. When that was, the newest time tells that two sides have in common: that of the
 * fork is no older, and no file can have been written at it that does not show it, as
 * long as nobody has set the clock back. Two sides that are both forks go on with one
 * clock for a moment more, until each is told what time it is. From then on there is
 * doubt, and only the contents tell.
 */
#pragma once

#include "wire/tree.h"

/** same_attributes() - of one type, mode and owner. */
bool same_attributes(const struct tree_state *a, const struct tree_state *b);

/** same_doubt() - the ctime in ns from which on it does not tell, for two trees of which
 * one is a fork of the other, or both are of a third. */
int64_t same_doubt(const struct tree *a, const struct tree *b);

/**
 * same_untouched() - two regular files are one that nobody has changed, for certain.
 *
 * Inode 0 is the image's: of two images, files of one size and time are taken for the
 * same, as rsync does.
 */
bool same_untouched(const struct tree_state *a, const struct tree_state *b, int64_t doubt);
