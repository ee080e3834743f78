/*
 * A conversation with the file server of a guest: one request after the other.
 *
 * Theory of operation: whoever does something with files that takes several requests has
 * an errand in it, and so a reference to the sandbox, which counts as used meanwhile. An
 * answer always comes later, from the event loop, also when there is nobody to ask; and a
 * guest that does not answer is waited for no longer than ERRAND_MS.
 */
#pragma once

#include "pffs/core/files/files.h"
#include "util/error.h"

#define ERRAND_MS 60000u

struct errand {
	struct sandbox *sb; /* reference */
	struct files_call *call;
	struct loop_timer limit;
	files_done_fn *done; /* NULL: nothing is asked */
	void *ctx;
	int error; /* of a request that could not be made: a positive errno */
};

/** errand_init() - begin. @ctx is what the functions are called with. */
void errand_init(struct errand *errand, struct sandbox *sb, void *ctx);

/** errand_fini() - no answer is waited for any more. A handle that comes is closed. */
void errand_fini(struct errand *errand);

/** errand_ask() - ask the guest; @done is called once, later. One question at a time. */
void errand_ask(struct errand *errand, const struct files_request *request,
		files_done_fn *done);

/** errand_pause() - call @done with an empty answer, later: so that what repeats itself
 * does not pile up on the stack. */
void errand_pause(struct errand *errand, files_done_fn *done);

/** errand_asks() - an answer is waited for. */
static inline bool errand_asks(const struct errand *errand)
{
	return errand->done;
}

/** errand_close() - close @handle, without waiting; 0 is none. Sets it to 0. */
void errand_close(struct errand *errand, uint32_t *handle);
