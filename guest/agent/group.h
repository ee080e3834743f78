/*
 * Groups of processes: what one run, or one REPL, started.
 *
 * A group is a cgroup where the system has a writable cgroup v2 hierarchy, and
 * the processes of one session elsewhere (in tests outside a VM). All of these cgroups are
 * in one, which has the limits of what they take together. The agent and the file server
 * are not in it: a guest that is out of memory still answers.
 */
#pragma once

#include "util/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct group {
	struct link link; /* on the list of abandoned groups */
	int fd;		  /* the cgroup's folder; -1: no cgroup */
	pid_t session;	  /* the first process, which leads a session */
	char path[64];
};

/* A process, safe against the reuse of its pid. */
struct proc {
	pid_t pid;
	unsigned long long start; /* clock ticks after boot: proc(5), stat, field 22 */
};

struct procs {
	struct proc *list;
	size_t count;
};

/** groups_init() - use cgroups from now on, if the system has them. */
void groups_init(void);

/** groups_limit() - write @value to @file of the cgroup that all groups are in. */
void groups_limit(const char *file, const char *value);

/** groups_memory_kills() - how many processes of groups the kernel killed so far because
 * there was no memory. */
unsigned long groups_memory_kills(void);

/**
 * group_new() - a group without processes, whose name starts with @name.
 * Return: the group, to be given to group_abandon(); NULL without memory.
 */
struct group *group_new(const char *name);

/** group_abandon() - remove the cgroup once its last process has gone. @group may be NULL.
 */
void group_abandon(struct group *group);

/** groups_sweep() - remove the abandoned cgroups that are empty now. */
void groups_sweep(void);

/** groups_are_gone() - nothing runs in abandoned groups. */
bool groups_are_gone(void);

/** group_is_empty() - nothing runs in @group for certain: it is a cgroup, or NULL. */
bool group_is_empty(const struct group *group);

/** group_kill() - SIGKILL to every process of @group. */
void group_kill(const struct group *group);

/** groups_freeze() - stop the processes of all groups, for good, and wait for that. */
void groups_freeze(void);

/** groups_hold() - stop (or let go on) the processes of all groups, also of new ones. */
void groups_hold(bool on);

/** groups_have_stopped() - have all processes that are held? Until then they may write. */
bool groups_have_stopped(void);

/** group_freeze() - stop (or let go on, unless all are held) all of a cgroup; no-op for a
 * session. */
void group_freeze(const struct group *group, bool on);

/**
 * group_list() - the processes of @group that run now.
 * Return: a list to be given to procs_fini(); empty without memory.
 */
struct procs group_list(const struct group *group);

/** procs_have() - is @proc in @procs? */
bool procs_have(const struct procs *procs, const struct proc *proc);

void procs_fini(struct procs *procs);

/** proc_sleeps() - does @pid wait for something that may come at any time, or never? */
bool proc_sleeps(pid_t pid);
