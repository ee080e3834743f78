/*
 * How long each of the program's ioctl(2) calls takes.
 *
 * Theory of operation: the program has an ioctl() of its own, which comes before that of
 * libc. So the code of vmctl is measured as it is. KVM_RUN, which is made in other
 * threads, is not recorded.
 */
#pragma once

#include <stdint.h>

#define CALLS_MAX 128

struct call {
	unsigned long request;
	uint64_t from_ns, to_ns; /* CLOCK_MONOTONIC */
};

struct calls {
	unsigned count;
	struct call call[CALLS_MAX];
};

/** calls_record() - record from now on to @calls, which is emptied; NULL: no more. */
void calls_record(struct calls *calls);

/** calls_find() - the first recorded call of @request, or NULL. */
const struct call *calls_find(const struct calls *calls, unsigned long request);

/** calls_time() - nanoseconds that all recorded calls of @request took. */
uint64_t calls_time(const struct calls *calls, unsigned long request);
