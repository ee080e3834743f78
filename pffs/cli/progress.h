/*
 * That something goes on, told at a terminal when it takes more than a second.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;
	uint64_t since_ns;
	int fd;	    /* is readable each second; -1: there is nobody to tell */
	bool shown; /* there is a line to take away */
};

/** progress_begin() - @what: such as "making a sandbox"; NULL: nothing is told. */
void progress_begin(struct progress *progress, const char *what);

/** progress_tick() - @fd is readable. @ctx: the progress. Return: 0. */
int progress_tick(void *ctx);

/** progress_end() - take the line away. */
void progress_end(struct progress *progress);
