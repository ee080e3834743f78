/*
 * stdin of a run, by a request whose body is what the program reads, as it comes.
 */
#include "pffs/api/reply.h"
#include "pffs/api/runs.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/sandbox.h"

#include <errno.h>

#define WAITS_MAX (4u << 20) /* bytes that the program has not read yet */
#define LOOK_MS	  20u	     /* how often is looked whether it has */

static void end(struct request *r)
{
	guest_stdin_close(r->state);
}

static bool is_full(const struct feed *feed)
{
	return !feed->ended && feed->bytes.size - feed->sent > WAITS_MAX;
}

static void look(struct request *r)
{
	if (is_full(r->state))
		request_look(r, LOOK_MS);
	else
		request_release(r);
}

static int take(struct request *r, const void *data, size_t len, struct error *err)
{
	int result = guest_stdin_write(r->state, data, len, err);

	if (result == 0 && is_full(r->state)) {
		request_hold(r);
		request_look(r, LOOK_MS);
	}
	return result;
}

static void whole(struct request *r)
{
	reply_empty(r, MHD_HTTP_NO_CONTENT);
}

static void begin(struct request *r)
{
	struct run *run = runs_find(r);

	if (!run)
		return;
	if (run->state == RUN_ENDED || run->feed->ended) {
		reply_say(r, EBUSY, "run %u does not read stdin any more", run->number);
		return;
	}
	r->state = guest_stdin_of(run);
	r->end = end;
	r->piece = take;
	r->whole = whole;
	r->look = look;
}

const struct route stdin_routes[] = {
    {"PUT", "/v1/sandboxes/{id}/runs/{n}/stdin", begin, ROUTE_SANDBOX | ROUTE_PIECES},
    {0},
};
