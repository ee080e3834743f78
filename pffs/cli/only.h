/*
 * Mounting a single sandbox of a pffs that runs.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>

struct only_options {
	const char
	    *sandbox;	 /* path of its directory; or its name, when there is one mount */
	const char *dir; /* where to, a resolved path */
	bool allow_other;
	bool foreground;
};

/**
 * only_mount() - mount it, and stay for as long as it is mounted: in the background,
 * or, with @options->foreground, by returning at the end.
 * Return: 0 or -errno with @err filled; nothing is mounted then.
 */
int only_mount(const struct only_options *options, struct error *err);
