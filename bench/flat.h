/*
 * A machine of vmctl's own (machine.h) whose guest is a page of code instead of
 * a kernel, so that it runs at native speed on a software KVM too.
 *
 * The guest runs in ring 3 of 32-bit protected mode without paging. It spins, without
 * any exit, until it has an order: to write to every page and say so, or to count and
 * say so.
 */
#pragma once

#include "util/error.h"
#include "vmctl/machine.h"

#define FLAT_MEMORY_MIN_MIB MACHINE_MEMORY_MIN_MIB

struct flat {
	struct machine machine;
	/* In the vCPU's thread: the guest has done what it was told. */
	void (*on_touched)(void);
	void (*on_alive)(void);
	char kernel[64], empty[64]; /* what machine_init() loads */
	int agent[2];
};

/**
 * flat_boot() - make the machine and start its vCPU, which touches all pages first.
 * @flat: zeroed but for the two functions; one of a process.
 * @mib:  how much memory the guest touches.
 *
 * Return: 0 or -errno with @err filled; then the process is to end.
 */
int flat_boot(struct flat *flat, uint64_t mib, struct error *err);

/** flat_dirty_disk() - write to the guest's disk, so that sealing it has work. */
int flat_dirty_disk(struct flat *flat);

/** flat_touch() - have the guest write to every page; on_touched() follows. */
void flat_touch(struct flat *flat);

/** flat_report() - have the guest say that it is alive, again and again. */
void flat_report(struct flat *flat);
