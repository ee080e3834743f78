/*
 * Taking up what a former pffs left when it was killed.
 *
 * Theory of operation: sandboxes come back from their journals (journal.h), adrift. When
 * vmctl has answered it is asked for its machines. Those of this state directory, which are
 * told by their group, are attached, one after the other, if a sandbox has them, and
 * destroyed if none has: the machine of a template that has an image, or what was being
 * made. One that stands still, a fork point or a template that was made of a sandbox, is
 * left so.
 * `attach` says how much of either stream there was: the guest is sent again what did not
 * arrive, and what it has said since comes again. Then the machine is woken as a fork is,
 * so that nothing in it waits any more for an answer that the former pffs was to give.
 *
 * When vmctl was killed and pffs was not, its sandboxes are adrift likewise, if they were
 * in the midst of nothing but runs: the journal tells what has to be sent again. What was
 * asked about files fails.
 */
#pragma once

#include "pffs/core/sandbox.h"

/** attach_begin() - take up all that is adrift. @done: called once, when the link is free
 * for others, or is lost (with @err). */
void attach_begin(struct core *core, void (*done)(void *ctx, const struct error *err),
		  void *ctx);

/**
 * attach_lost() - the link to vmctl broke. A sandbox whose machine may outlive that is
 * adrift, until attach_begin() or attach_give_up(); any other dies of @reason.
 */
void attach_lost(struct sandbox *sb, const char *reason);

/** attach_give_up() - no vmctl has come: what is adrift dies of @reason. */
void attach_give_up(struct core *core, const char *reason);

/** attach_awake() - the machine of @sb has woken. Return: whether it was adrift. */
bool attach_awake(struct sandbox *sb);
