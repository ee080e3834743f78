/*
 * Sandboxes that are being made for a request.
 *
 * Theory of operation: a fork, of a sandbox or of a template's machine, is begun with
 * making_made() as what it tells its end to. All of its children have to be ready, one
 * after the other, before the request is answered. Who did not wait to hear of them has
 * none: they go, since nobody knows their names.
 */
#pragma once

#include "pffs/api/request.h"
#include "pffs/core/fork.h"

struct making {
	struct request *r; /* NULL: has gone */
	struct fork *fork; /* for fork_order's @handle */
	struct sandbox **made;
	size_t wanted; /* how many there will be */
	size_t count, ready;
	/* All are ready: answer, and return 0, or -errno with @err and they go. */
	int (*done)(struct request *r, struct sandbox **made, size_t count,
		    struct error *err);
};

/** making_new() - @wanted for @r, whose @state and @end it has. Return: it, or NULL. */
struct making *making_new(struct request *r, size_t wanted,
			  int (*done)(struct request *r, struct sandbox **made,
				      size_t count, struct error *err));

/** making_made() - a fork_done_fn; its context is the making. */
void making_made(void *ctx, struct sandbox *const *children, const struct error *err);
