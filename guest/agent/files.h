/*
 * The agent's side of the file server: requests to it, replies from it, and word of what
 * changed in the directories that it watches.
 */
#pragma once

#include "guest/agent/changes.h"
#include "guest/agent/links.h"
#include "guest/agent/port.h"
#include "guest/files/server.h"
#include "util/buf.h"
#include "util/loop.h"
#include "wire/files.h"

#include <stdbool.h>
#include <sys/types.h>

struct agent;

#define FILES_REPORTED 256 /* newest numbers of watches that the host was told of */

/* A request that has no reply yet. */
struct files_pending {
	uint32_t stream; /* 0: free */
	uint64_t reports;
};

struct files {
	struct agent *agent;
	int root;	      /* -1: there is no file service */
	struct layers layers; /* of the overlay; -1 where there is none */
	struct dirty dirty;
	pid_t pid;		   /* of the server; 0: none */
	int fd;			   /* the socket to it; -1: none */
	struct loop_source source; /* the same, while the port has room for replies */
	struct buf in, out;	   /* from it, to it */
	struct loop_timer stopped; /* since it was stopped by a signal */
	struct changes_queue changes;
	struct loop_source inotify;
	struct files_shared *shared;
	bool used; /* it had a request in this epoch */
	struct files_pending pending[FILES_IN_FLIGHT];
	uint32_t reported[FILES_REPORTED];
	uint64_t reports; /* numbers reported so far */
	struct links *links;
};

/**
 * files_init() - start the server.
 * @root: the directory that it works on, taken over; -1: every request is refused.
 * @layers: of the overlay that it is on, taken over.
 */
void files_init(struct files *files, struct agent *agent, int root,
		const struct layers *layers);

/** files_frame() - AGENT_FILES or AGENT_FILES_CANCEL from the host. */
void files_frame(struct files *files, const struct agent_frame *frame);

/** files_has_server() - Return: whether the server is there; if it can be, it is. */
bool files_has_server(struct files *files);

/** files_pass() - a frame for the server, which is there. That it is lost shows later. */
void files_pass(struct files *files, const struct agent_frame *frame);

/** files_wake() - a new epoch: what was open or asked for before is nobody's. */
void files_wake(struct files *files);

/** files_awake() - tell the host that the machine is another one now. */
void files_awake(struct files *files);

/** files_resume() - the port has room again. */
void files_resume(struct files *files);

/** files_changes() - tell the host of all changes so far. */
void files_changes(struct files *files);

/* files.c, for files_changed.c */

/** files_pending() - Return: the request without a reply that is @stream's, or NULL. For 0:
 * one that is free. */
struct files_pending *files_pending(struct files *files, uint32_t stream);

/* files_changed.c, for files.c */

void files_inotify_event(struct loop_source *source, uint32_t revents);

/** files_answered() - a reply is here, and will go to the host next. */
void files_answered(struct files *files, uint32_t stream);

/**
 * files_tell_again() - the host has just been told the number of a watch.
 * @since: files->reports when it asked: what was reported meanwhile came too early.
 */
void files_tell_again(struct files *files, int32_t watch, uint64_t since);

/** files_tell_all() - the server is lost: everything may have changed. */
void files_tell_all(struct files *files);

/* files.c */

/** files_look() - a child has stopped, perhaps: if it is the server, it will go on. */
void files_look(struct files *files);

/** files_reaped() - a child has ended. Return: whether it was the server. */
bool files_reaped(struct files *files, pid_t pid);
