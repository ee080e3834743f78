/*
 * What a process shuts itself into before it looks at anything that a guest can shape.
 *
 * Theory of operation
 *
 * A process opens what it needs, and then calls jail_enter() once, while it has one thread.
 * In this order it becomes a user of its own (when it is root), gets the namespaces that it
 * asks for, a root directory in which there is nothing, loses all capabilities for good,
 * and installs a filter of system calls (jail_calls.h). A namespace that the kernel refuses
 * is done without: the rest still holds, and standard error says which one, once.
 *
 * A namespace of users comes first, since it gives who has no privileges those that the
 * others take. Only its own user is mapped in it, so nobody in there can be anybody else.
 *
 * The root directory is a file system in memory that cannot be written; or, for who needs
 * files without names (O_TMPFILE), a directory of the file system that TMPDIR is on, which
 * is bound there. All VM processes have the same one, pffs-vm-UID: no name is ever made in
 * it. It is root's, and of the group JAIL_ID_FIRST that all of them are in, which may write
 * and not read it. Afterwards TMPDIR is "/".
 *
 * pivot_root(2) takes the old root out of the namespace. Where that is the initramfs, which
 * cannot go, the new one is moved over it.
 */
#pragma once

#include "util/error.h"
#include "vmctl/jail_calls.h"

#include <stdbool.h>
#include <sys/types.h>

/* Users from here on are the jail's; nobody else is meant to have them. */
#define JAIL_ID_FIRST 0x70000000u
#define JAIL_IDS      65536u
/* Behind those of VMs: vmctl-names', and vmctl-net's. */
#define JAIL_ID_NAMES (JAIL_ID_FIRST + JAIL_IDS)
#define JAIL_ID_NET   (JAIL_ID_FIRST + JAIL_IDS + 1)

enum jail_root {
	JAIL_ROOT_HOST,	 /* as it is */
	JAIL_ROOT_EMPTY, /* nothing is in it, and nothing can be made */
	JAIL_ROOT_FILES, /* nothing is in it; O_TMPFILE works */
};

struct jail {
	const char *name; /* of what is jailed, for standard error */
	uid_t uid;	  /* to be, if root; 0: as it is */
	int namespaces;	  /* CLONE_NEW* but for that of pids (spawn.h) */
	enum jail_root root;
	enum jail_calls calls;
};

/**
 * jail_enter() - shut this process into @jail, and with it all that it forks.
 * Return: 0, or -errno with @err filled; then the process is to end.
 */
int jail_enter(const struct jail *jail, struct error *err);

/** jail_user() - a user for the VM @id and its forks. */
uid_t jail_user(unsigned id);

/** jail_has_user() - is there @user in the namespace of users that we are in? */
bool jail_has_user(uid_t user);

/**
 * jail_become() - of root, be this user, with the capabilities that root has.
 * Return: 0 or -errno with @err filled.
 */
int jail_become(uid_t uid, struct error *err);

/**
 * jail_map_self() - in a new namespace of users: be who one was, and nobody else.
 * @uid, @gid: who that was.
 * @as_root:   that one is root in there, else has the same numbers.
 *
 * Return: 0 or -errno.
 */
int jail_map_self(uid_t uid, gid_t gid, bool as_root);

/** jail_no_new_privileges() - nothing that is executed from now on gets more than we have.
 */
void jail_no_new_privileges(void);

/**
 * jail_powerless() - lose all capabilities, for good; the rest stays as it is.
 * Return: 0 or -errno with @err filled.
 */
int jail_powerless(struct error *err);
