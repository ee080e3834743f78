/*
 * Programs of a sandbox that stand still while its files are changed.
 *
 * Theory of operation: the guest is asked to stop all of them, for a time (AGENT_HOLD),
 * and answers when it has. It is asked again before the time is over, as long as they are
 * held; should this pffs end, or hang, they go on by themselves.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct hold;

/** hold_fn - all have stopped, or @err says why not, and they go on. */
typedef void hold_fn(void *ctx, const struct error *err);

/**
 * hold_begin() - have the programs of @sb stop, which nobody else does.
 * @done: called once, later, unless hold_end() comes first.
 * Return: what hold_end() takes, or NULL without memory.
 */
struct hold *hold_begin(struct sandbox *sb, hold_fn *done, void *ctx);

/** hold_end() - they go on. Also to be called when they have not stopped. */
void hold_end(struct hold *hold);

/** hold_frame() - the guest's answer. Return: 0, or -EPROTO with @err filled. */
int hold_frame(struct sandbox *sb, const struct agent_frame *frame, struct error *err);

/** hold_ended() - the machine of @sb has ended. */
void hold_ended(struct sandbox *sb);
