/*
 * What the guest's root file system is, beyond the image below it (wire/tree.h).
 */
#pragma once

#include "util/buf.h"
#include "wire/picks.h"

#include <stdbool.h>

/* The two layers of the overlay, as directories; -1: there is none. */
struct layers {
	int upper, lower;
};

/**
 * tree_walk() - append the entries of all that the upper layer changes.
 * @image: instead, all that the lower layer has, as if it were new.
 * @picks: NULL, or only these. A directory that is looked at for them has an entry also
 *         where its mode and owner are the lower one's.
 *
 * What comes and goes meanwhile may be in it or not. A path of more than FILES_PATH_MAX
 * bytes is not.
 *
 * Return: 0, or -ENOMEM, -EFBIG (more than TREE_MAX), or another -errno.
 */
int tree_walk(const struct layers *layers, bool image, const struct picks *picks,
	      struct buf *out);
