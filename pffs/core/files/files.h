/*
 * Requests to the file server of a sandbox's guest.
 *
 * Theory of operation: a request is a call, which is answered once by its function: by
 * the guest's reply, or with an error when the sandbox dies. It waits in a queue until
 * the machine is ready, no fork waits for the channel to drain, and less is in flight
 * than FILES_IN_FLIGHT and FILES_BYTES_IN_FLIGHT allow. Its frame is kept until the
 * reply has come.
 *
 * Who waits for a lock may wait for ever, for one whose unlocking must get through: so
 * FILES_WAITS wait in the guest at most. Those beyond try again now and then, each of
 * them, for what they wait for may be had while others still wait.
 *
 * Handles, watches and what is known by them belong to an epoch, which begins when the
 * machine is told who it is (guest_wake()), be it the machine that the sandbox had or
 * another one. Calls that have no answer then are sent again, but for those that name a
 * handle: these get -EBADF, as if the guest had said so.
 *
 * Everything in a reply is the guest's word, and it is hostile.
 */
#pragma once

#include "pffs/core/sandbox.h"
#include "wire/files.h"

#define FILES_BYTES_IN_FLIGHT (4u << 20) /* requests' frames; what follows waits */
#define FILES_WAITS	      32u	 /* of FILES_IN_FLIGHT: for locks */

struct files_call;
struct files_node;

/* What a sandbox keeps of its guest's files; made when it is first needed. */
/* How old the numbers of free blocks and inodes may be that are shown. What the mount
 * changes itself is in them, and what a program did before it said something. */
#define FILES_STATFS_MS 1000u

struct files {
	struct sandbox *sb;
	struct link waiting; /* calls that were not sent yet, in order */
	struct link flying;  /* calls without a reply, in the order of sending */
	struct link locking; /* calls that did not get their lock, and try again */
	struct loop_timer lock_timer;
	unsigned in_flight, waits;
	size_t bytes_in_flight;
	uint64_t epoch; /* counts from 1; never what it was before */

	/* files_node.c */
	struct files_node *root;
	struct files_node **nodes; /* by number; NULL where there is none */
	uint32_t node_room, node_count, next_generation;
	uint32_t free_number; /* where the search for a free one begins */
	struct files_node **buckets;
	size_t bucket_count;
	uint64_t replacements; /* times that a directory was another one */

	size_t unwritten; /* memory that writes take which the guest has not got */
	size_t ahead;	  /* bytes of open files that nobody has read yet */
	struct files_statfs statfs; /* the newest one: for FILES_STATFS_MS */
	uint64_t statfs_at;	    /* CLOCK_MONOTONIC, ms; 0: not known */

	/* files_cache.c */
	bool links_told;      /* by the guest, with the newest watch: wire/files.h */
	struct link *watches; /* listings, by number of the watch */
	size_t cached;	      /* bytes of listings */
};

/** files_of() - Return: @sb's, or NULL without memory. */
struct files *files_of(struct sandbox *sb);

/** files_statfs_drop() - how much room there is may have changed. */
static inline void files_statfs_drop(struct sandbox *sb)
{
	if (sb->files)
		sb->files->statfs_at = 0;
}

/**
 * The answer to a call.
 * @reply: its data are valid until the function returns. Its error is one that a
 *         program may see: 0 to 511, not ENOSYS.
 */
typedef void files_done_fn(void *ctx, const struct files_reply *reply);

/**
 * files_request() - ask the guest.
 * @request: is copied.
 * @done:    called once, later; NULL when nobody wants to know.
 * @call:    set to what files_cancel() takes, valid until @done is called; or NULL.
 *
 * Return: 0, or -errno, and @done is not called: -EIO for a dead sandbox, -ENOMEM,
 * -ENAMETOOLONG.
 */
int files_request(struct sandbox *sb, const struct files_request *request,
		  files_done_fn *done, void *ctx, struct files_call **call);

/** files_cancel() - nobody waits for @call any more. A handle that it gets is closed. */
void files_cancel(struct files_call *call);

/** files_sent() - the guest has the call, and may have done what it says. */
bool files_sent(const struct files_call *call);

/** files_next() - send what waits, as far as that is possible now. */
void files_next(struct sandbox *sb);

/**
 * files_frame() - an AGENT_FILES_* frame of the sandbox's epoch.
 * Return: 0, or -EPROTO with @err filled.
 */
int files_frame(struct sandbox *sb, const struct agent_frame *frame, struct error *err);

/** files_epoch_changed() - the machine will be told who it is: a new epoch begins. */
void files_epoch_changed(struct sandbox *sb);

/** files_busy() - somebody waits for an answer. */
bool files_busy(const struct sandbox *sb);

/** files_at_work() - the guest does what somebody asked for; waiting for locks is none. */
bool files_at_work(const struct sandbox *sb);

/** files_end() - the machine has ended: every call is answered EIO. */
void files_end(struct sandbox *sb);

/** files_free() - the sandbox goes. */
void files_free(struct sandbox *sb);
