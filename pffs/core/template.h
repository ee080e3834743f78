/*
 * The machine of a template: what every sandbox of it is a fork of.
 *
 * Theory of operation: a template's machine is a sandbox in FOLDER_HIDDEN, where
 * nobody sees it. It boots when it is first needed, and as soon as its agent answers
 * it is parked, before anything told it who it is: SANDBOX_FROZEN, from which forks
 * are made until vmctl ends. One that has died boots again when it is next needed,
 * and so does one whose image was replaced, or none of whose forks ever answered. A
 * sandbox, too, can be made a template: it is parked as it is, and hidden. There is no
 * image to boot that one from again, so what is known of it is in a journal, as of any
 * sandbox, and the next pffs takes it up.
 */
#pragma once

#include "pffs/core/fork.h"

/**
 * template_machine() - what to fork for a sandbox of a template.
 * @index: into core->templates.
 * Return: a sandbox, which may still be starting, or NULL with @err filled: ENOENT no
 * such template, EIO no vmctl or a machine that cannot boot again, ENOMEM.
 */
struct sandbox *template_machine(struct core *core, size_t index, struct error *err);

/**
 * template_fork() - make sandboxes of a template.
 * @order: early is set here when the machine of the template still starts.
 * Return: as fork_begin(), or as template_machine().
 */
int template_fork(struct core *core, size_t index, struct fork_order *order,
		  fork_done_fn *done, void *ctx, struct error *err);

/**
 * template_failed() - no fork of @sb has ever woken: if it is the machine of a template it
 * ends, and boots anew when it is next needed. One that was made of a sandbox is all
 * that there is, and stays.
 */
void template_failed(struct sandbox *sb, const char *reason);

/** template_booted() - the agent of a template's machine answers: park it. */
void template_booted(struct sandbox *machine);

/**
 * template_look() - take up the images that have come, and let go of those that went:
 * of a template whose forks/ is empty the machine ends.
 */
void template_look(struct core *core);

/** template_find() - index of the template called @name, or -1. Looks, too. */
int template_find(struct core *core, const char *name);

typedef void template_done_fn(void *ctx, const struct error *err);

/**
 * template_freeze() - make a template of a sandbox, which is then no sandbox any more.
 * @done: called once, later, with NULL or what went wrong; the sandbox is then as it
 *        was.
 *
 * Return: 0, or -EINVAL a bad name, -EEXIST, -EBUSY it starts, runs or has forks, -EIO
 * it is dead, -ENOMEM, with @err filled; no @done then.
 */
int template_freeze(struct sandbox *sb, const char *name, template_done_fn *done, void *ctx,
		    struct error *err);

/** template_restore() - have again the template @name that a former pffs made of a sandbox.
 * Return: its index, or -errno with @err filled. */
int template_restore(struct core *core, const char *name, struct error *err);

/** template_restored() - @machine, which is adrift, is that of a template that was made of
 * the sandbox @made_of. */
void template_restored(struct sandbox *machine, const char *made_of,
		       const struct timespec *created);

/**
 * template_remove() - end a template that was made of a sandbox.
 * Return: 0, or -EBUSY there are sandboxes in its forks/, -EPERM it is an image, with
 * @err filled.
 */
int template_remove(struct core *core, size_t index, struct error *err);
