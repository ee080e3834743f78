/*
 * What proc(5) tells of this machine and this process.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/** procfs_bytes() - the line "@key: N kB" in @text, in bytes; 0 without it. */
int64_t procfs_bytes(const char *text, const char *key);

/** procfs_available() - memory that new processes can have without swapping, in bytes. */
int64_t procfs_available(void);

/** procfs_descriptors() - how many descriptors this process has open; 0: unknown. */
int procfs_descriptors(void);

/** procfs_processes() - how many processes and threads there can be. In a namespace of pids
 * the kernel may tell that of the namespace. */
uint64_t procfs_processes(void);

/**
 * procfs_open() - open /proc/@pid/@file for a process that has no /proc.
 *
 * It is opened as by who may not administer the system, since what may be read is decided
 * by that: in pagemap, where in the host's memory the pages are.
 *
 * Return: a descriptor or -errno.
 */
int procfs_open(pid_t pid, const char *file);

/** procfs_pid_namespace() - the inode of a process' namespace of pids; 0: it is not known.
 */
uint64_t procfs_pid_namespace(pid_t pid);

/** procfs_exit_status() - how a process has ended that nobody has waited for yet, as
 * waitpid(2) has it; -1: it is not known. */
int procfs_exit_status(pid_t pid);
