/*
 * The images directory: what VMs are made of. docs/ and guest/images describe
 * how it comes to be; here are the names in it.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>
#include <stdbool.h>

#define IMAGES_DEFAULT "/var/cache/pffs"
#define IMAGES_SUFFIX  ".erofs"

/** images_dir() - @given, else $PFFS_IMAGES, else IMAGES_DEFAULT. */
const char *images_dir(const char *given);

/** images_is_name() - whether @name is a name of INTERFACE: 1-64 of A-Za-z0-9._-. */
bool images_is_name(const char *name);

/**
 * images_path() - DIR/NAME, or with @suffix DIR/NAMESUFFIX.
 * Return: a string to free(), or NULL without memory.
 */
char *images_path(const char *dir, const char *name, const char *suffix);

/** images_need() - check that a file can be read. Return: 0, or -errno with @err,
 * a sentence that ends in @remedy, a command. */
int images_need(const char *path, const char *what, const char *remedy, struct error *err);

/**
 * images_template() - the path of template @name in @dir.
 * Return: a string to free(), or NULL with @err: EINVAL, ENOENT, ...
 */
char *images_template(const char *dir, const char *name, struct error *err);

/** images_templates() - the names of all templates, sorted. Return: new array, or
 * NULL without memory; an unreadable directory has none. */
json_t *images_templates(const char *dir);
