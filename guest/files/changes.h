/*
 * What a run creates, deletes and modifies.
 */
#pragma once

#include "guest/files/tree.h"
#include "util/list.h"
#include "wire/tree.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct changes {
	struct layers layers;
	atomic_uint writes; /* one more when a write to the files begins, and ends */
	pthread_mutex_t lock;
	struct tree last; /* at the end of a run, while nothing can have changed since */
	bool has_last;
	unsigned last_writes; /* @writes before @last was taken */
	struct link starts;   /* struct start: of runs that go on */
};

/** changes_emit_fn - takes a part of the payload of AGENT_CHANGES frames. */
typedef void changes_emit_fn(void *ctx, const void *payload, size_t len);

/** changes_init() - without a run. @layers: descriptors, which stay the caller's. */
void changes_init(struct changes *changes, const struct layers *layers);

/**
 * changes_begin() - a run is about to start: remember what the files are.
 * May sleep for a tick of the clock, so that what the run changes gets another time.
 */
void changes_begin(struct changes *changes, uint32_t stream);

/**
 * changes_end() - it has ended: tell what is different from its beginning.
 * @quiet: no process of the user's is left that could change anything from now on.
 *
 * The last that is emitted, by itself, says that it was all.
 */
void changes_end(struct changes *changes, uint32_t stream, bool quiet, changes_emit_fn *fn,
		 void *ctx);

/** changes_fini() - forget all runs. */
void changes_fini(struct changes *changes);
