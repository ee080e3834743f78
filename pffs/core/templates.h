/*
 * The templates that sandboxes can be made from: what the images directory holds, and
 * those made of sandboxes. A template keeps its index for as long as this process
 * lives; one that has gone is not shown any more.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define TEMPLATE_NAME_MAX 64

struct sandbox;

struct template
{
	char *name;
	struct sandbox *machine; /* see template.h; NULL until it is needed */
	bool made;		 /* of a sandbox: there is no image */
	char made_of[40];	 /* the id of that sandbox */
	bool gone;
	struct timespec created; /* CLOCK_REALTIME; of an image: when it was last seen to
				    have been written */
	uint64_t image;		 /* number of the image that it was then */
};

struct templates {
	char *dir; /* the images directory's templates/ */
	struct template *list;
	size_t count;
	size_t fallback; /* what a plain mkdir uses: an index, or a value past the end */
	uint64_t images; /* that were seen: their numbers count from 1 */
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

/** templates_has() - there is a template with that index, and it has not gone. */
bool templates_has(const struct templates *t, size_t index);

/** templates_add() - take up one more. Return: its index, or -ENOMEM. */
int templates_add(struct templates *t, const char *name);

/** templates_remove() - it has gone; what was made from it stays. */
void templates_remove(struct templates *t, size_t index);

/**
 * templates_image_changed() - has a template's image been replaced since the last time
 * that this was asked?
 */
bool templates_image_changed(struct templates *t, size_t index);

/** templates_image_gone() - has a template's image been removed? */
bool templates_image_gone(const struct templates *t, size_t index);

/**
 * templates_file() - the text kept beside a template's image.
 * @suffix: "info" or "packages".
 * Return: a string to free(), empty when there is none.
 */
char *templates_file(const struct templates *t, size_t index, const char *suffix);
