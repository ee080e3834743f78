/*
 * What a name means to a sandbox that is compared with others.
 */
#pragma once

#include "pffs/core/sandbox.h"

/** target_sees_fn - may it be found? NULL: all may. */
typedef bool target_sees_fn(const void *ctx, const struct sandbox *sb);

/**
 * target_named() - a fork of @sb, a sibling or a sandbox in the root of that name, the
 * first of these; or the sandbox with that id.
 * Return: it, or NULL.
 */
struct sandbox *target_named(const struct sandbox *sb, const char *name,
			     target_sees_fn *sees, const void *ctx);
