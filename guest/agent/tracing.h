/*
 * Events of the guest's kernel, by their names in tracefs.
 */
#pragma once

#include <stdbool.h>

#define TRACING "/sys/kernel/tracing"

/** tracing_begin() - have tracefs at TRACING. Return: whether tracing_end() undoes it, or
 * -errno. */
int tracing_begin(void);
void tracing_end(int begun);

/**
 * tracing_number() - of an event, for PERF_TYPE_TRACEPOINT.
 * @event: such as "ext4/ext4_mark_inode_dirty".
 * Return: it or -ENOENT.
 */
int tracing_number(const char *event);
