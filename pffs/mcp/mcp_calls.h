/*
 * Calls of tools that go on.
 *
 * Theory of operation: each has a thread, which answers it when the tool has come to an
 * end, and a descriptor that becomes readable when it is cancelled: what waits for pffs
 * watches that. One that was cancelled is not answered.
 */
#pragma once

#include "pffs/mcp/mcp_rpc.h"
#include "util/error.h"
#include "util/list.h"

#define CALLS_MAX 64

struct mcp;
struct tool;

struct call {
	struct link link; /* on calls->list */
	struct mcp *mcp;
	struct rpc_request request;
	int version; /* enum mcp_version */
	const struct tool *tool;
	json_t *arguments, *progress; /* the token, or NULL */
	int cancel_fd;
	bool cancelled; /* under calls->lock */
};

struct calls {
	pthread_mutex_t lock;
	struct link list;
	unsigned count;
	int ended_fd; /* an eventfd: one has ended */
};

int calls_init(struct calls *calls, struct error *err);

/**
 * call_begin() - call @tool.
 * @request:   answered by it, whatever comes.
 * @arguments: checked; a reference is taken, as of @progress, which may be NULL.
 */
void call_begin(struct mcp *mcp, struct rpc_request request, int version,
		const struct tool *tool, json_t *arguments, json_t *progress);

/** calls_have() - does one with that id go on? */
bool calls_have(struct calls *calls, const json_t *id);

/** calls_cancel() - the one with @id; NULL: all. */
void calls_cancel(struct calls *calls, const json_t *id);

unsigned calls_count(struct calls *calls);
