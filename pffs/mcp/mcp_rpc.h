/*
 * JSON-RPC 2.0 over a pair of byte streams, a message a line.
 *
 * Theory of operation: the main thread reads; every thread writes, each message whole,
 * under one lock. A request is answered once, by whichever thread; those of a batch
 * (protocol 2025-03-26 has them) when the last of them is answered, as one array.
 */
#pragma once

#include "util/buf.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define RPC_LINE_MAX (96u << 20) /* 64 MiB in base64, and what is around that */

#define RPC_PARSE_ERROR	    (-32700)
#define RPC_INVALID_REQUEST (-32600)
#define RPC_NO_METHOD	    (-32601)
#define RPC_INVALID_PARAMS  (-32602)
#define RPC_INTERNAL_ERROR  (-32603)
#define RPC_SERVER_BUSY	    (-32000)
#define RPC_BAD_VERSION	    (-32022) /* of MCP, since 2026-07-28 */

struct rpc {
	int in, out;
	struct buf unread;
	size_t scanned; /* bytes of it that have no newline */
	bool skipping;	/* the rest of a line that was too long */
	pthread_mutex_t lock;
	atomic_bool gone; /* nobody reads what is written */
};

/* Requests of one array, that are answered in one. */
struct rpc_batch {
	struct rpc *rpc;
	json_t *answers;
	unsigned left;
};

/* A request that is to be answered, by one of the functions below. */
struct rpc_request {
	struct rpc *rpc;
	json_t *id; /* NULL: null */
	struct rpc_batch *batch;
};

void rpc_init(struct rpc *rpc, int in, int out);

/**
 * rpc_read() - take what can be read, and @line for each line that is whole.
 * @line: gets no empty ones; @len 0 is one that was too long.
 *
 * Return: 1, 0 at the end (a last line without its newline has been taken), or -errno.
 */
int rpc_read(struct rpc *rpc, void (*line)(void *ctx, const char *text, size_t len),
	     void *ctx);

/** rpc_answer() - @result is taken over. */
void rpc_answer(struct rpc_request *request, json_t *result);

/** rpc_refuse() - answer with an error. @data: taken over, or NULL. */
__attribute__((format(printf, 4, 5))) void rpc_refuse(struct rpc_request *request, int code,
						      json_t *data, const char *fmt, ...);

/** rpc_drop() - no answer is wanted any more. */
void rpc_drop(struct rpc_request *request);

/** rpc_notify() - @params is taken over. */
void rpc_notify(struct rpc *rpc, const char *method, json_t *params);

/** rpc_batch_begin() - a batch, held by the caller until rpc_batch_end(). */
struct rpc_batch *rpc_batch_begin(struct rpc *rpc);

/** rpc_batch_join() - @request is answered with @batch, which may be NULL. */
void rpc_batch_join(struct rpc_request *request, struct rpc_batch *batch);

/** rpc_batch_end() - nothing joins any more. NULL is fine. */
void rpc_batch_end(struct rpc_batch *batch);
