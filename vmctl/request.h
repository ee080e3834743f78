/*
 * Requests of clients: their replies, and those that wait for a VM process.
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"

#include <jansson.h>
#include <stdint.h>

struct client;
struct fork;
struct freeze;
struct vmproc;

enum request_kind {
	REQUEST_DESTROY, /* waits for the end of the VM */
	REQUEST_STAT,	 /* the others wait for an answer of its process */
	REQUEST_LOG,
	REQUEST_PLAIN,	/* its reply has nothing in it */
	REQUEST_FORK,	/* see fork.h */
	REQUEST_FREEZE, /* the others: see freeze.h */
	REQUEST_SAVE,
	REQUEST_THAW,
	REQUEST_POLICY, /* waits for `vmctl net`; its reply has nothing in it */
};

struct request {
	struct link client_link, vm_link;
	struct client *client;
	struct vmproc *vm;
	struct loop_timer deadline;
	enum request_kind kind;
	uint64_t vm_seq; /* of the question to the VM process */
	json_t *seq;	 /* of the client's request */

	struct fork *fork;     /* of a REQUEST_FORK */
	struct freeze *freeze; /* of a REQUEST_FREEZE or _SAVE */
};

/**
 * reply() - answer a request.
 * @seq:  its number, or NULL when it had none.
 * @body: an object that is consumed, or NULL when memory ran out.
 */
void reply(struct client *client, json_t *seq, json_t *body);

/** reply_error() - answer a request by the error that it ran into. */
void reply_error(struct client *client, json_t *seq, const struct error *err);

/** request_new() - a request that waits. Return: NULL without memory. */
struct request *request_new(struct client *client, json_t *seq, struct vmproc *vm,
			    enum request_kind kind);

/**
 * request_ask() - put a request that waits to the VM process.
 * @question: an object with "op" at least, which is consumed; NULL when memory ran
 *            out.
 * @fds:      @count descriptors to go along, which stay the caller's.
 * Return: 0, or -errno with @err; the request then still has to be freed.
 */
int request_ask(struct request *request, json_t *question, const int *fds, unsigned count,
		struct error *err);

/** request_wait() - let the deadline of a request that waits begin anew. */
void request_wait(struct request *request);

/** request_alive() - the process of @vm has said that it is at work: as request_wait(), for
 * all that wait for it. */
void request_alive(struct vmproc *vm);

/** request_find() - the request of @vm with this question's number, or NULL. */
struct request *request_find(struct vmproc *vm, uint64_t vm_seq);

/** request_reply() - reply() to a request that waited, and free it. */
void request_reply(struct request *request, json_t *body);

/** request_fail() - reply_error() to a request that waited, and free it. */
void request_fail(struct request *request, const struct error *err);

/** number_in() - a number in an answer of a VM process; 0 for none, or one below. */
json_int_t number_in(const json_t *message, const char *key);

/** request_free() - forget a request. */
void request_free(struct request *request);
