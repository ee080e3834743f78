/*
 * Runs, by the API.
 */
#pragma once

#include "pffs/api/request.h"
#include "pffs/core/run.h"

#define RUNS_TEXT_MAX	 (1u << 20) /* bytes of a stream in the JSON of a run */
#define RUNS_FIGURES_MAX (4u << 20) /* and of all figures in it */
#define RUNS_CHANGES_MAX 10000u	    /* lines of its changes in it */

/**
 * runs_begin() - begin the run that the body of @r tells: code, language, stdin,
 * timeout_seconds.
 * Return: it, with a reference for the caller, or NULL with @err filled.
 */
struct run *runs_begin(struct request *r, struct error *err);

/** runs_find() - the run of the second parameter. Return: it, or NULL: 404 was answered. */
struct run *runs_find(struct request *r);

enum runs_with {
	RUNS_OUTPUT = 1,
	RUNS_FIGURES = 2, /* their bytes */
};

/** runs_bytes() - of a stream, from @at on. Return: to free(), @len of them and room for a
 * NUL; or NULL without memory. */
char *runs_bytes(const struct stream *stream, uint64_t at, size_t *len);

/** runs_shown() - a run of @sb as JSON. @with: of enum runs_with. */
json_t *runs_shown(const struct sandbox *sb, const struct run *run, unsigned with);
