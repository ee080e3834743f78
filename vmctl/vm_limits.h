/*
 * What the process of a VM may take of its host, by rlimits.
 *
 * Theory of operation: a machine's size is known when it has been built, and says all that
 * its process can need; fork(2) passes the limits on, and a fork is as large. They bound
 * what a mistake of vmctl's, or a guest that makes use of one, takes from others. Root may
 * raise its own (CAP_SYS_RESOURCE), so they hold against a process that is another user's
 * (docs/limits.md).
 */
#pragma once

#include "vmctl/machine.h"

/**
 * vm_limits_processes() - limit the processes and threads of a family to @most.
 *
 * They are counted together in its namespace of users; where there is none, with all that
 * are this user's. To be called before there is that namespace.
 */
void vm_limits_processes(uint64_t most);

/**
 * vm_limits_set() - limit this process, for the machine that has been built in it.
 *
 * No core file, which would have the guest's secrets; as many descriptors as a disk of
 * DISK_LAYERS_MAX and a batch of forks take; files no larger than the one that the machine
 * is frozen to; memory of its own for the machine, twice, since that is compared with
 * another one while it is frozen, and for what devices keep.
 */
void vm_limits_set(const struct machine *m);
