/*
 * What proc(5) tells of this machine and this process.
 */
#pragma once

#include <stdint.h>

/** procfs_bytes() - the line "@key: N kB" in @text, in bytes; 0 without it. */
int64_t procfs_bytes(const char *text, const char *key);

/** procfs_available() - memory that new processes can have without swapping, in bytes. */
int64_t procfs_available(void);

/** procfs_descriptors() - how many descriptors this process has open; 0: unknown. */
int procfs_descriptors(void);
