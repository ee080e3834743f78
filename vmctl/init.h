/*
 * `vmctl init USER`: the first process of a family (spawn.h), which is a VM and all that
 * were forked from it.
 *
 * Theory of operation: a namespace of pids ends with its first process, and VMs outlive
 * those that they were forked from. So that one is no VM. It inherits forks whose parents
 * have ended, and waits for them INIT_REAP_MS late: until then the broker can see in /proc
 * how they ended. The writing end of its pipe, INIT_ALIVE_FD in here, is the broker's, who
 * has a descriptor of it for each VM of the family whose process has not ended, and so has
 * the keeper. When the last one is closed init ends, and with it whatever is left in the
 * namespace: a process that a guest has taken over may have forked others that nobody
 * knows.
 */
#pragma once

#define INIT_ALIVE_FD 3
#define INIT_REAP_MS  1000

/** init_main() - the process. Return: its exit status. */
int init_main(int argc, char **argv);
