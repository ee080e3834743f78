/*
 * The templates that sandboxes can be made from: what the images directory
 * holds. A template keeps its index for as long as this process lives.
 */
#pragma once

#include "util/error.h"

#include <stddef.h>

#define TEMPLATE_NAME_MAX 64

struct templates {
	char *dir; /* the images directory's templates/ */
	char **names;
	size_t count;
	size_t fallback; /* what a plain mkdir uses: an index, or a value past the end */
};

/**
 * templates_init() - look into an images directory.
 * @images: its path; need not exist yet.
 * Return: 0 or -ENOMEM.
 */
int templates_init(struct templates *t, const char *images, struct error *err);
void templates_fini(struct templates *t);

/** templates_scan() - take up templates that were built since the last look. */
void templates_scan(struct templates *t);

/** templates_find() - index of @name, or -1. Scans when it is not known yet. */
int templates_find(struct templates *t, const char *name);

/**
 * templates_file() - the text kept beside a template.
 * @suffix: "info" or "packages".
 * Return: a string to free(), empty when there is none.
 */
char *templates_file(const struct templates *t, size_t index, const char *suffix);
