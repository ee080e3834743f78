/*
 * diff/: what a sandbox can be compared with.
 */
#pragma once

#include "pffs/fs/node.h"

/* Bytes of the longest name in a diff/, NUL apart: no other list has longer ones. */
#define TARGET_NAME_MAX (SANDBOX_NAME_MAX + 6)

/** target_child() - the file of that name in a diff/. Return: 0 or -ENOENT. */
int target_child(const struct node *dir, const char *name, struct node *child);

/** target_list() - call @emit for each; ids are not listed. */
void target_list(const struct node *dir,
		 void (*emit)(void *ctx, const char *name, const struct node *node),
		 void *ctx);

/** target_parent() - the sandbox that @sb is a fork of, or NULL when it has gone or is
 * not in what is mounted. */
struct sandbox *target_parent(const struct fs *fs, const struct sandbox *sb);
