/*
 * Which inodes of the upper layer's ext4 were changed since a moment of the past.
 *
 * Theory of operation
 *
 * The agent has attached a program to the kernel (guest/agent/dirty.c) that runs for each
 * change of an inode, of whatever cause, and writes to a map when that was:
 * CLOCK_MONOTONIC. Both maps are the kernel's memory, and so a fork's as well, whose clock
 * goes on from its parent's: a moment before the fork means the same in both.
 *
 * The map of inodes has room for DIRTY_MAX. When it is full, the newest time at which
 * something could not be noted is. dirty_mark() makes room again; what it drops is of
 * before the moment that it returns. About what was before either of these times nothing
 * can be told; nor of all that was before a dirty_mark() that did not come to its end.
 *
 * The kernel's clock for files goes by ticks, and a file that is written twice in one is
 * changed once. So a moment is some ticks earlier than it was.
 */
#pragma once

#include <stdint.h>

#define DIRTY_MAX 16384u

/* What is in the second map, by key. */
enum dirty_state {
	DIRTY_LOST,    /* when an inode found no room; 0: never */
	DIRTY_NOTED,   /* how often something was noted since the last drop */
	DIRTY_DROPPED, /* what was not later than this may be gone */
	DIRTY_STATES,
};

/* Descriptors of the maps; -1: nobody notes. */
struct dirty {
	int inodes, state;
};

/** dirty_bpf() - bpf(2). Return: as that, or -errno. @attr: union bpf_attr. */
int dirty_bpf(int command, void *attr, uint32_t size);

/** dirty_mark() - Return: a moment that is just over, or -errno. */
int64_t dirty_mark(const struct dirty *dirty);

/**
 * dirty_since() - what was changed since a moment.
 * @inodes: to be freed.
 * Return: how many, or -ENODATA when that is not known, or another -errno.
 */
int dirty_since(const struct dirty *dirty, int64_t moment, uint64_t **inodes);
