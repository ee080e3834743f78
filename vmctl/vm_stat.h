/*
 * What a VM costs its host, as its process sees it.
 */
#pragma once

#include "vmctl/machine.h"

#include <jansson.h>

/**
 * vm_stat() - the numbers of `stat`: cpu_usec, memory_bytes, memory_private,
 * memory_shared, disk_bytes. What the kernel does not tell is 0.
 * @rollup: /proc/PID/smaps_rollup of this process.
 *
 * Return: an object for json_decref(), or NULL without memory.
 */
json_t *vm_stat(struct machine *m, int rollup);
