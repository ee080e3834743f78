/*
 * One HTTP request, from its first header to the last byte of its answer.
 *
 * Theory of operation
 *
 * libmicrohttpd calls back for the headers, for each piece of the body, and when the
 * request is whole; only then its handler (route.h) is called, once. A handler answers by
 * one function of reply.h, now or later. As long as it has not, the request is parked:
 * its connection is suspended, and costs nothing. What a handler waits for it watches by
 * request_watch(), whose callback comes by a timer of no delay, so that it may do
 * anything, such as remove sandboxes or other requests' watches.
 *
 * A suspended connection is not looked at by libmicrohttpd. So while it is suspended its
 * socket is in our own loop, for the events that say that the client has gone. Then,
 * or when the answer has been sent, or pffs ends, @end of the handler is called, and the
 * request is freed. A client that went away has ended nothing: what a handler began in
 * the core goes on, unless @end says otherwise.
 *
 * A route with ROUTE_PIECES has its handler called when the headers are there. It sets
 * @piece, and @whole, and may hold the body back by request_hold().
 */
#pragma once

#include "pffs/api/parse.h"
#include "pffs/api/route.h"
#include "pffs/api/server.h"
#include "pffs/core/watch.h"
#include "util/buf.h"
#include "util/error.h"
#include "util/loop.h"

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>

#define REQUEST_BODY_MAX  (1u << 20)
#define REQUEST_LARGE_MAX (64u << 20)  /* of ROUTE_LARGE */
#define REQUEST_ALL_MAX	  (256u << 20) /* of all that come at a time */
#define REQUEST_QUERY_MAX 64

struct sandbox;

struct request_value {
	char *name, *value;
};

struct request {
	struct link link; /* on server->requests */
	struct server *server;
	struct listener *listener;
	struct core *core;
	struct MHD_Connection *connection;
	const struct route *route; /* NULL: there is none, and it is refused */
	char *uri;		   /* as it came, without the server */
	char *authority;	   /* that server, which counts more than Host; or NULL */
	char *parameters[ROUTE_PARAMETERS]; /* of the route's template, decoded, in order */
	struct request_value query[REQUEST_QUERY_MAX]; /* decoded, in order */
	size_t query_count;
	struct sandbox *sb; /* of ROUTE_SANDBOX: a reference; it may be gone by now */
	json_t *body;	    /* of ROUTE_JSON: an object, also where there was no body */

	/* The handler's own. */
	void *state;
	void (*end)(struct request *r); /* it is about to be freed: let go of @state */
	int (*piece)(struct request *r, const void *data, size_t len, struct error *err);
	void (*whole)(struct request *r); /* the body has come to its end */

	/* Of states.h. */
	struct sandbox *awaited;
	int wanted;
	void (*reached)(struct request *r, struct sandbox *sb, const struct error *err);

	/* What follows is for request.c and reply.c. */
	struct buf raw;
	size_t counted;	     /* of it, in server->bodies */
	struct parse *parse; /* of @raw, while it is under way */
	struct watch watch;
	void (*look)(struct request *r);
	struct loop_timer again;
	struct loop_source peer; /* tells that the client has gone */
	struct MHD_Response *response;
	unsigned status;
	json_t *headers; /* of the answer, that a handler has set */
	ssize_t (*read)(struct request *r, char *to, size_t len);
	bool begun;	/* its headers have been looked at */
	bool handled;	/* the handler has been called; with pieces: @whole */
	bool suspended; /* by us, and not resumed yet */
	bool held;	/* the body is to wait */
	bool gone;	/* the client is, or we are to break off */
	bool said_all;	/* the client has shut its side */
	bool refused;	/* what is left of the body is of no interest */
};

/** request_query() - of `?name=value` the value, or NULL. */
const char *request_query(const struct request *r, const char *name);

/**
 * request_query_flag() - whether `?name=true`.
 * Return: 0 or 1, also where it is missing: 0; -EINVAL with @err filled for anything else.
 */
int request_query_flag(const struct request *r, const char *name, struct error *err);

/** request_header() - a header of the request, or NULL; borrowed. */
const char *request_header(const struct request *r, const char *name);

/**
 * request_text() - a string of the JSON body.
 * @text: set to it, borrowed; left as it is where there is none, or null.
 * Return: 0, or -EINVAL with @err filled when it is no string.
 */
int request_text(const struct request *r, const char *name, const char **text,
		 struct error *err);

/** request_flag() - likewise true or false. */
int request_flag(const struct request *r, const char *name, bool *flag, struct error *err);

/** request_number() - likewise a whole number from @min to @max. */
int request_number(const struct request *r, const char *name, int64_t min, int64_t max,
		   int64_t *number, struct error *err);

/** request_find_sandbox() - by id, name or path. Return: it, or NULL: 404 was answered. */
struct sandbox *request_find_sandbox(struct request *r, const char *which);

/**
 * request_watch() - have @look called after changes of what has these @watchers; it is
 * also called by request_look(). Replaces an earlier watch, and ends with the answer: for
 * a stream it begins behind reply_stream(), with request_wake() as @look. Who watches
 * something that is counted holds a reference until @end.
 */
void request_watch(struct request *r, struct link *watchers,
		   void (*look)(struct request *r));

/** request_unwatch() - no more calls. */
void request_unwatch(struct request *r);

/** request_look() - have @look called soon, or after @delay_ms. */
void request_look(struct request *r, uint64_t delay_ms);

/** request_wake() - a stream that had nothing to send may have something now; usable as
 * @look. */
void request_wake(struct request *r);

/** request_hold() - with ROUTE_PIECES: no piece is taken, until request_release(). */
void request_hold(struct request *r);
void request_release(struct request *r);

/* The callbacks of libmicrohttpd, for server.c. */
void *request_uri(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result request_step(void *cls, struct MHD_Connection *connection, const char *url,
			     const char *method, const char *version, const char *data,
			     size_t *size, void **ctx);
void request_completed(void *cls, struct MHD_Connection *connection, void **ctx,
		       enum MHD_RequestTerminationCode code);

/** request_park() - for reply.c: the connection sleeps until it is woken. */
void request_park(struct request *r);

/** request_break() - the client gets no more: the connection is closed. */
void request_break(struct request *r);
