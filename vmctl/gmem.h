/*
 * Guest memory, and the only way to it.
 *
 * Theory of operation: RAM is one anonymous mapping, so that fork(2) makes it
 * copy-on-write. The first 3 GiB of it are at guest address 0, the rest begins
 * at 4 GiB; the hole between holds the devices. gmem_ptr() is the one place
 * that turns a guest address into a pointer. The guest writes to this memory
 * at any time: copy a value once, then check the copy.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

#define GMEM_HOLE     (3ull << 30) /* guest addresses from here */
#define GMEM_HOLE_END (4ull << 30) /* to here are no RAM */

struct gmem {
	uint8_t *base;
	uint64_t size; /* bytes of RAM */
	uint64_t low;  /* bytes of it below GMEM_HOLE */
	bool of_files; /* some of it is mapped from files */
};

struct snapshot;
struct snapshot_writer;

/**
 * gmem_init() - map @size bytes of zeroed RAM.
 * @size: in bytes, a multiple of 4 KiB.
 *
 * Return: 0 or -errno with @err filled.
 */
int gmem_init(struct gmem *mem, uint64_t size, struct error *err);

/** gmem_fini() - unmap the RAM. */
void gmem_fini(struct gmem *mem);

/**
 * gmem_ptr() - where @len bytes at guest address @gpa are.
 * Return: a pointer, valid until gmem_fini(), or NULL unless the whole range is
 * RAM without a gap.
 */
void *gmem_ptr(const struct gmem *mem, uint64_t gpa, uint64_t len);

/** gmem_write() - copy @len bytes to the guest. Return: 0 or -EFAULT. */
int gmem_write(const struct gmem *mem, uint64_t gpa, const void *data, uint64_t len);

/**
 * gmem_release() - forget what is in the whole pages of @len bytes at @at, which are
 * RAM. They cost nothing until they are used again, and read as zeros.
 */
void gmem_release(const struct gmem *mem, void *at, uint64_t len);

/**
 * gmem_save() - write the pages of a guest that stands still to SNAPSHOT_RUNS and
 * SNAPSHOT_MEMORY: those that are not what they are in @base, or not zero where that has
 * none.
 * @base: memory of the same size, or NULL.
 * @pagemap: /proc/PID/pagemap of this process, so that pages that never were need not be
 *	looked at; or -1.
 *
 * Return: 0 or -errno with @err filled.
 */
int gmem_save(const struct gmem *mem, const struct gmem *base, int pagemap,
	      struct snapshot_writer *w, struct error *err);

/**
 * gmem_map() - put the pages of a snapshot where they were. They are read when they are
 * used. Return: 0 or -errno with @err filled.
 */
int gmem_map(struct gmem *mem, const struct snapshot *s, struct error *err);
