/*
 * Being at a terminal of a sandbox: keys go there, what it shows comes here.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>

/* How attach() ended, if not by an error. */
enum attach_end {
	ATTACH_EXITED,	 /* the program did */
	ATTACH_LEFT,	 /* the user did; the program goes on */
	ATTACH_SIGNALED, /* we were; likewise */
};

/**
 * attach() - be there until the program ends, or the user leaves.
 * @dir:    the terminal's directory.
 * @again:  it has been used before.
 * @status: the program's exit code, or the number of the signal.
 *
 * Return: enum attach_end, or -errno with @err filled. The user's own terminal is as it
 * was before, in any case.
 */
int attach(const char *dir, bool again, int *status, struct error *err);
