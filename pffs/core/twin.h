/*
 * Fork points: what a sandbox was when it was forked.
 *
 * Theory of operation: with the children of a live fork comes one more machine, in the
 * same pause, that nobody sees: their twin, which stands still and has never run. It is
 * the fork point of all of them, and ends with the last. Its files are what is of use.
 * Who wants to read them has it run: the first thing that its agent is told then is to
 * stop all other processes, so that the files stay what they were. It is parked again a
 * moment after the last user has done with it.
 *
 * What is known of a twin is in a journal, as of any sandbox, and its children's records
 * name it: so the next pffs takes it up.
 *
 * A fork of a template's image has no twin: at its fork point it had the files of the
 * image.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct twin;

/** twin_fn - @point is awake until twin_done(), or it is NULL and @err says why. */
typedef void twin_fn(void *ctx, struct sandbox *point, const struct error *err);

/** twin_new() - the twin of children that are about to be. Return: NULL without memory. */
struct twin *twin_new(struct sandbox *parent);

/** twin_name() - what vmctl is to call it. */
const char *twin_name(const struct twin *twin);

/** twin_id() - the id of the sandbox that nobody sees. */
const char *twin_id(const struct twin *twin);

/** twin_adopt() - vmctl has made its machine.
 * @moment: just before, see lineage.h; 0: not known. */
void twin_adopt(struct twin *twin, const struct sandbox *parent, uint32_t vm, int pid,
		int64_t moment);

/** twin_hold() - @child has it as its fork point. */
void twin_hold(struct twin *twin, struct sandbox *child);

/** twin_restored() - @point, which is adrift, is a fork point. */
void twin_restored(struct sandbox *point);

/** twin_restore() - @child, which is restored, had the fork point @id. */
void twin_restore(struct sandbox *child, const char *id);

/** twins_restored() - all sandboxes are there: who has no child goes. */
void twins_restored(struct core *core);

/** twin_attached() - the machine of @point has been taken up. */
void twin_attached(struct sandbox *point);

/** twin_drop() - @child needs its fork point no more. */
void twin_drop(struct sandbox *child);

/** twin_discard() - who has made it does; it ends, unless a child holds it. */
void twin_discard(struct twin *twin);

/** twin_awake() - the machine of a fork point has done what WAKE asked for. */
void twin_awake(struct sandbox *point);

/** twin_ended() - the machine of a fork point has died. */
void twin_ended(struct sandbox *point);

/** sandbox_has_base() - @sb has a fork point of its own; else it is the template. */
bool sandbox_has_base(const struct sandbox *sb);

/**
 * twin_use() - have the fork point of @sb answer requests about files.
 * @ready: called once, later or before this returns.
 */
void twin_use(struct sandbox *sb, twin_fn *ready, void *ctx);

/** twin_moment() - Return: when the fork point of @sb was, see lineage.h; 0: not known. */
int64_t twin_moment(const struct sandbox *sb);

/** twin_done() - one who was told that @point is awake needs it no more. */
void twin_done(struct sandbox *point);
