/*
 * All that is in a directory of a guest.
 */
#pragma once

#include "pffs/core/sandbox.h"
#include "wire/files.h"

#define DIR_LIST_MAX 500000u /* entries; of a directory with more there is no list */

struct dir_entry {
	struct files_attr attr; /* a good one: files_attr_ok() */
	char *name;
};

struct dir_entries {
	struct dir_entry *list; /* by name */
	size_t count, room;
};

void dir_entries_fini(struct dir_entries *entries);

struct dir_list;

/** dir_list_fn - @entries are the receiver's to take; or NULL, and @err says why. */
typedef void dir_list_fn(void *ctx, struct dir_entries *entries, const struct error *err);

/**
 * dir_list_begin() - list the directory @path, as wire/files.h has it.
 * @done: called once, later.
 * Return: what dir_list_cancel() takes until then, or NULL without memory.
 */
struct dir_list *dir_list_begin(struct sandbox *sb, const char *path, dir_list_fn *done,
				void *ctx);

void dir_list_cancel(struct dir_list *list);
