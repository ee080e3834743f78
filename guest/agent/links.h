/*
 * Whether a program in the guest has made a hard link.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct perf_event_mmap_page;

#define LINKS_CPUS 64

struct links {
	unsigned int cpus; /* 0: nobody counts */
	const struct perf_event_mmap_page *entered[LINKS_CPUS], *returned[LINKS_CPUS];
	uint64_t known; /* that were over when links_made() was last asked */
};

/** links_init() - count, if the kernel can. For PID 1: it stays in the kernel. */
void links_init(struct links *links);

/**
 * links_made() - has a link been made since this was asked before, or is one being made?
 * It is no system call. The file server's own are left out.
 */
bool links_made(struct links *links);
