/*
 * How much of the host's CPUs a VM may use, by cgroup v2.
 *
 * Theory of operation: a VM that is limited is in a cgroup of its own, below the root of
 * the hierarchy, whose name has the broker's process and the VM's number. One that never
 * was is where the broker is. A fork is born into the group of its parent; one that
 * nobody wants any more may be there when the parent has ended, and then the group goes
 * with it. It takes root, and a hierarchy in which the controller of
 * CPUs is at hand. Memory is not limited here: a page that forks share is charged to who
 * wrote it first for as long as one of them has it, so a machine would pay for its forks
 * (docs/limits.md).
 */
#pragma once

#include "util/error.h"
#include "util/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** cgroup_usable() - find out whether VMs can be limited, and prepare for it: what
 * brokers have left that were killed goes. */
bool cgroup_usable(void);

/**
 * cgroup_limit() - let the process @pid of VM @id use so much of one CPU's time.
 * @broker: the process that first limited it; it may have been killed.
 * @percent: 0 for no limit.
 *
 * Return: 0 or -errno with @err filled.
 */
int cgroup_limit(pid_t broker, uint32_t id, pid_t pid, unsigned percent, struct error *err);

/**
 * cgroup_remove() - VM @id, whose process has ended, has no cgroup any more.
 * @left: groups in which there still is a process.
 */
void cgroup_remove(pid_t broker, uint32_t id, struct link *left);

/** cgroup_tidy() - a process has ended: remove what is left, if it can be now. */
void cgroup_tidy(struct link *left);

/** cgroup_forget() - likewise, for the last time. */
void cgroup_forget(struct link *left);
