/*
 * The files of a template: what a fork of its machine has, in which nothing has run.
 *
 * Theory of operation: the machine of a template stands still for good. Who wants its
 * files gets a fork of it that nobody sees, which is kept for a while for whoever comes
 * next. When the image was built again, these are the files of the new one: who needs the
 * old one's has to look at @image of the machine.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct view;

/** view_fn - @machine answers until view_done(), or it is NULL and @err says why. */
typedef void view_fn(void *ctx, struct sandbox *machine, const struct error *err);

/**
 * view_use() - look at the files of a template.
 * @index: into core->templates.
 * @ready: called once, later or before this returns.
 */
void view_use(struct core *core, size_t index, view_fn *ready, void *ctx);

/** view_done() - one who was told that @machine answers needs it no more. */
void view_done(struct sandbox *machine);

/** views_fini() - forget all; their machines are the core's to end. */
void views_fini(struct core *core);
