/*
 * The directory of frozen machines: a snapshot each, NAME.vm.
 *
 * Theory of operation
 *
 * A snapshot is written as NAME.new, and gets its name when it is on the disk; what is left
 * of one whose writer did not come so far is removed when the store is opened. One process
 * has the store, by a lock. A snapshot of memory alone, which others are compared with, is
 * a file like the others, and goes when nothing needs it any more: no file that names it,
 * and no VM that was made of one.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>
#include <stdbool.h>

struct store {
	const char *dir; /* NULL: there is none, and @why says why */
	int lock_fd;
	struct error why;
};

/**
 * store_open() - use a directory, which is made if it is not there.
 * @dir: borrowed; NULL: machines cannot be frozen.
 *
 * A store that cannot be opened is one without a directory, and keeps the error.
 */
void store_open(struct store *store, const char *dir);
void store_close(struct store *store);

/** store_check() - there is a store. Return: 0, or -errno with @err filled. */
int store_check(const struct store *store, struct error *err);

/** store_has() - there is a snapshot of that name. */
bool store_has(const struct store *store, const char *name);

/** store_path() - where a snapshot is. Return: a string to free(), or NULL. */
char *store_path(const struct store *store, const char *name);

/** store_create() - begin a snapshot. Return: an empty file, or -errno with @err filled:
 * -EEXIST, -EBUSY one of that name is being made, ... */
int store_create(const struct store *store, const char *name, struct error *err);

/** store_commit() - it is written. Return: 0, or -errno with @err filled; then it is gone.
 */
int store_commit(const struct store *store, const char *name, struct error *err);

/** store_abort() - it will not be written. */
void store_abort(const struct store *store, const char *name);

/** store_read() - open a snapshot. Return: a descriptor, or -errno with @err filled. */
int store_read(const struct store *store, const char *name, struct error *err);

/** store_describe() - what a snapshot says of itself, and "image", its name, and "bytes".
 * Return: new, or NULL with @err filled. */
json_t *store_describe(const struct store *store, const char *name, struct error *err);

/** store_list() - the names of all snapshots. Return: new array. */
json_t *store_list(const struct store *store);

/** store_bases() - those of memory alone. Return: new array. */
json_t *store_bases(const struct store *store);

/** store_list_group() - the names of those that are of machines of @group, at most @max.
 * Return: new array. */
json_t *store_list_group(const struct store *store, const char *group, size_t max);

/** store_remove() - forget a snapshot. Return: 0 or -errno with @err filled. */
int store_remove(const struct store *store, const char *name, struct error *err);

/** store_needs() - a snapshot was compared with that of that name. */
bool store_needs(const struct store *store, const char *name);
