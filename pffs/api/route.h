/*
 * Which handler answers what.
 *
 * A template is a path whose segments are literal, or a parameter in braces; the last one
 * may be {NAME...}, which is the rest of the path, also none of it. Each part of the API
 * has a table of its own, which ends with an empty entry, and is named in route.c.
 */
#pragma once

#include <stdbool.h>

#define ROUTE_PARAMETERS 4

struct request;

enum route_flags {
	ROUTE_SANDBOX = 1, /* the first parameter is one: request->sb, or it is 404 */
	ROUTE_JSON = 2,	   /* the body is a JSON object, or none: request->body */
	ROUTE_PIECES = 4,  /* the handler takes the body as it comes: request.h */
	ROUTE_OPEN = 8,	   /* for everybody, without a key */
	ROUTE_LARGE = 16,  /* the body may be long; it is gone when the handler returns */
};

struct route {
	const char *method;
	const char *template;
	void (*handle)(struct request *r);
	unsigned flags;
};

extern const struct route exec_routes[];
extern const struct route fork_routes[];
extern const struct route host_routes[];
extern const struct route pty_routes[];
extern const struct route run_routes[];
extern const struct route replay_routes[];
extern const struct route stdin_routes[];
extern const struct route sandbox_routes[];
extern const struct route openapi_routes[];
extern const struct route event_routes[];
extern const struct route template_routes[];
extern const struct route freeze_routes[];
extern const struct route diff_routes[];
extern const struct route merge_routes[];
extern const struct route file_routes[];
extern const struct route net_routes[];

/**
 * route_find() - find the handler of @r, by its uri and @method, and fill its parameters
 * and its query. HEAD is answered as GET; nobody sends the body then.
 *
 * Return: true, or false when @r was refused: 400, 404, 405.
 */
bool route_find(struct request *r, const char *method);
