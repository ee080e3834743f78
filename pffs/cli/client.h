/*
 * A pffs that runs, asked by HTTP over its Unix socket (docs/http.md).
 *
 * Theory of operation: a client is the path of a socket and nothing that changes, so
 * threads may share one. Each transfer has a connection of its own. Several can go on at a
 * time in one thread, as the two streams of a run do, and with them descriptors are
 * watched, as for a signal: client_transfer() is the one loop for that, and client_call()
 * is it for one question and its answer.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>

struct client {
	char *socket;
};

/**
 * client_open() - find the pffs to ask.
 * @api:     path of its socket, or NULL: that of the mount which @sandbox leads into, else
 *           that in $PFFS_API, else that of the mount which the working directory is in,
 *           else the only one that answers in the runtime directory.
 * @sandbox: what the user calls a sandbox, or NULL.
 *
 * Return: a client for client_close(), or NULL with @err filled; -ENOENT: none runs.
 */
struct client *client_open(const char *api, const char *sandbox, struct error *err);

/** client_close() - NULL is fine. */
void client_close(struct client *client);

static inline void client_close_fn(struct client **client)
{
	client_close(*client);
}

#define cleanup_client __attribute__((cleanup(client_close_fn)))

/**
 * client_reference() - what the user calls a sandbox as a segment of a request's path.
 * @sandbox: an id, a name, a path from the mount's root on, or a path of this machine
 *           that leads into a mount.
 *
 * Return: a string to free(), or NULL without memory.
 */
char *client_reference(const char *sandbox);

/** client_in_mount() - is @path one of this machine that leads into a mount? */
bool client_in_mount(const char *path);

/** client_escape() - @text for a segment or the query of a request's path; to free(). */
char *client_escape(const char *text);

/** client_escape_path() - likewise, but a `/` stays one. */
char *client_escape_path(const char *text);

/**
 * client_call() - one question, one answer.
 * @body:   sent as JSON; NULL: none.
 * @answer: set to the answer, to json_decref(): JSON, other text as a JSON string, null
 *          when it is empty. With an error: what came of it, if that is JSON, else NULL.
 *          May be NULL.
 * @path:   from /v1/ on, as for printf().
 *
 * Return: 0, or -errno with @err: the server's own sentence if it was the server.
 */
__attribute__((format(printf, 6, 7))) int
client_call(const struct client *client, const char *method, const json_t *body,
	    json_t **answer, struct error *err, const char *path, ...);

/* A request, whose first part is the caller's, and what has come of it. */
struct transfer {
	const char *method; /* NULL: GET */
	const char *path;   /* from /v1/ on */
	const char *accept; /* media type, or NULL */
	const json_t *body; /* or NULL */
	bool sends;	    /* @send_fd, to its end, instead of @body */
	int send_fd;
	bool beside; /* nobody waits for it: it is ended with the last of the others */
	/* Takes the bytes of a good answer as they come; a value below 0 ends the transfer,
	 * as an error if it is not -ECANCELED. NULL: they are gathered for @answer. */
	int (*take)(void *ctx, const void *data, size_t len);
	void *ctx;

	long status;	  /* of HTTP; 0: it did not come to that */
	json_t *answer;	  /* as of client_call() */
	unsigned run;	  /* the header Pffs-Run, or 0 */
	struct error err; /* its code is 0 when all went well */

	/* client_transfer()'s own. */
	void *curl;
	void *headers;
	char *payload;
	struct buf text;
	int taken;
	bool paused, ended;
};

/* A descriptor that is watched meanwhile; a value of @ready but 0 ends all transfers. */
struct client_watch {
	int fd;
	int (*ready)(void *ctx);
	void *ctx;
};

/**
 * client_transfer() - do @count transfers at a time, until all have ended.
 *
 * Return: 0, or what a watch returned; those that it ended have the code -ECANCELED. How
 * each went is in its @err. transfer_fini() frees what came.
 */
int client_transfer(const struct client *client, struct transfer *transfers, size_t count,
		    const struct client_watch *watches, size_t watch_count);

/** transfer_fini() - free what came; the rest stays as it is. */
void transfer_fini(struct transfer *transfer);
