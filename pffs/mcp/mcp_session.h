/*
 * What a session has: the pffs that it asks, a sandbox of its own, and those that it made.
 *
 * Theory of operation: pffs is looked for when a tool first needs it, and started if none
 * runs; the session's own sandbox is made when a tool first needs that. Both take time, so
 * one call does it and the others wait for that one; no lock is held meanwhile. What the
 * session made goes when it ends: its own sandbox, unless the user named it, and whatever
 * the tools made. The names the session gave are looked up here first, so a fork can be
 * called by its name alone.
 */
#pragma once

#include "pffs/cli/client.h"
#include "pffs/mcp/mcp_calls.h"

#include <limits.h>

struct session_options {
	const char *api;      /* path of a socket, or NULL */
	const char *sandbox;  /* the user's, or NULL: one of the session's own */
	const char *template; /* or NULL */
	const char *files;    /* directory that tools may read and write in, or NULL */
	bool keep;	      /* what it made stays */
};

struct session {
	struct session_options options;
	pthread_mutex_t lock;
	pthread_cond_t settled;
	bool busy; /* one call is finding pffs, or making the sandbox */
	struct client *client;
	char *own; /* what the sandbox of the session is called; NULL: there is none */
	char trying[32]; /* the name by which it is being made */
	unsigned tries;
	json_t *made; /* ids of what the tools made: name */
};

/* A sandbox, as a tool was told. */
struct target {
	char *name; /* as the model knows it */
	char *id;   /* as pffs does: an id, a name or a path */
	char *path; /* of its requests: /v1/sandboxes/... */
	bool own;
};

void target_fini(struct target *target);

#define cleanup_target __attribute__((cleanup(target_fini)))

void session_init(struct session *session, const struct session_options *options);

/** session_end() - have go what goes with the session. */
void session_end(struct session *session);

/**
 * session_target() - the sandbox of a tool's argument.
 * @name: NULL: the session's own, which is made if there is none.
 *
 * Return: 0, or -errno with @err filled; target_fini() in any case.
 */
int session_target(struct call *call, const char *name, struct target *target,
		   struct error *err);

/** session_argument() - likewise, of the argument `sandbox`. */
int session_argument(struct call *call, struct target *target, struct error *err);

/** session_client() - the pffs of the session; NULL with @err filled: there is none. */
const struct client *session_client(struct call *call, struct error *err);

/** session_add() - the sandbox that an answer describes has been made. */
void session_add(struct call *call, const json_t *sandbox);

/** session_made() - is it one that session_add() was told of? @name: or its id. */
bool session_made(struct call *call, const char *name);

/** session_forget() - it has gone. @name: or its id; the session's own is found too. */
void session_forget(struct call *call, const struct target *target);

/**
 * session_explain() - @err, of something that failed in @target, may be because the
 * session's own sandbox has gone: then there will be a new one, and @err says so.
 */
void session_explain(struct call *call, const struct target *target, struct error *err);

/**
 * session_ask() - as client_call(), until the call is cancelled: -ECANCELED then.
 * @path: from /v1/ on.
 */
__attribute__((format(printf, 6, 7))) int session_ask(struct call *call, const char *method,
						      const json_t *body, json_t **answer,
						      struct error *err, const char *path,
						      ...);

/**
 * session_transfer() - as client_transfer(), until the call is cancelled.
 * @timer: one more descriptor to watch, or NULL.
 *
 * Return: 0, -ECANCELED, or -errno with @err filled.
 */
int session_transfer(struct call *call, struct transfer *transfers, size_t count,
		     const struct client_watch *timer, struct error *err);
