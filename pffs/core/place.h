/*
 * Where sandboxes are: their paths in a mount, ids, and names nobody has.
 */
#pragma once

#include "pffs/core/sandbox.h"

/** place_path() - such as demo/forks/x. Return: a string to free(), or NULL. */
char *place_path(const struct sandbox *sb);

/**
 * place_find() - a sandbox that is shown.
 * @text: its id, its path in the mount, which for one in the root is its name.
 *
 * Return: it, or NULL.
 */
struct sandbox *place_find(struct core *core, const char *text);

/** place_fresh_name() - one that nobody in the root has. Return: 0 or -EIO. */
int place_fresh_name(struct core *core, char name[SANDBOX_NAME_MAX + 1]);
