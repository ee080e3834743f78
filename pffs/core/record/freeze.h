/*
 * Freezing: a sandbox whose machine is in a file, until somebody needs it.
 *
 * Theory of operation
 *
 * From freeze_begin() on nothing new is sent to the guest. When it has answered what was
 * asked of its files, and taken what it was sent, vmctl is asked to write its machine to a
 * file (docs/freeze.md); the reply stands behind the guest's last byte. Then what pffs
 * itself knows of the sandbox, its runs above all, is written to the state directory
 * (record.h), by a process that is forked for that, so that nobody waits. Only then the
 * sandbox is frozen. What goes wrong before leaves it running, or has it run again.
 *
 * SANDBOX_STORED is the state of a frozen one. Whoever has something for its guest calls
 * freeze_use(), and finds a sandbox that is starting: it wakes as a fork does, by a WAKE
 * with its own name, and the files are removed when it has woken. When it does not, it is
 * frozen as before, and what waited for it fails.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct freeze;

/** freeze_begin() - the verb `freeze`. How it ends is told by the state, events and
 * `error`. Return: 0, also when it is frozen; -EBUSY, -EAGAIN, -EIO, -ENOTSUP, -ENOMEM with
 * @err filled. */
int freeze_begin(struct sandbox *sb, struct error *err);

/** freeze_failed() - tell by `error` and an event that @sb could not be frozen. */
void freeze_failed(struct sandbox *sb, const struct error *err);

/** freeze_use() - somebody needs the machine of @sb: resume it, if it is frozen. */
void freeze_use(struct sandbox *sb);

/** freeze_use_for() - likewise, and carry out a verb of `ctl` then. */
void freeze_use_for(struct sandbox *sb, const char *verb);

/** freeze_resume() - there may be room, or a vmctl, for @sb, which has waited for that. */
void freeze_resume(struct sandbox *sb);

/** freeze_holds() - nothing is to be sent to the guest of @sb now. */
bool freeze_holds(const struct sandbox *sb);

/** freeze_wakes() - its machine runs, and has yet to wake. */
bool freeze_wakes(const struct sandbox *sb);

/** freeze_settles() - files are being written of @sb, which is not frozen yet. */
bool freeze_settles(const struct sandbox *sb);

/** freeze_next() - what freezing waits for may have come. */
void freeze_next(struct sandbox *sb);

/** freeze_awake() - the machine of @sb has woken. Return: whether it had been frozen. */
bool freeze_awake(struct sandbox *sb);

/** freeze_lost() - the machine of @sb is lost. Return: whether it is still in its file. */
bool freeze_lost(struct sandbox *sb, const char *reason);

/** freeze_forget() - @sb goes, with its files unless pffs itself ends. */
void freeze_forget(struct sandbox *sb);
