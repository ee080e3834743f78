/*
 * Sandboxes that are put into files, and taken out, also by Podflare's name for these,
 * spaces; what sandboxes use.
 */
#include "pffs/core/record/freeze.h"

#include "pffs/api/reply.h"
#include "pffs/api/settings.h"
#include "pffs/api/shown.h"
#include "pffs/api/states.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/stats.h"

#include <errno.h>
#include <stdlib.h>

static void reached(struct request *r, struct sandbox *sb, const struct error *err)
{
	if (err)
		reply_error(r, err);
	else
		reply_json(r, MHD_HTTP_OK, shown_sandbox(sb));
}

static void freeze(struct request *r)
{
	struct error err;

	if (r->sb->state == SANDBOX_STORED && !r->sb->freeze)
		reply_json(r, MHD_HTTP_OK, shown_sandbox(r->sb));
	else if (guest_ctl(r->sb, "freeze", &err) < 0)
		reply_error(r, &err);
	else
		states_await(r, r->sb, STATES_FROZEN, reached);
}

static void resume_now(struct request *r)
{
	struct error err;

	if (guest_ctl(r->sb, "resume", &err) < 0)
		reply_error(r, &err);
	else
		states_await(r, r->sb, STATES_READY, reached);
}

/* It is frozen, or was not to be. */
static void settled(struct request *r, struct sandbox *sb, const struct error *err)
{
	if (sb->gone)
		reply_error(r, err);
	else
		resume_now(r);
}

static void resume(struct request *r)
{
	if (freeze_holds(r->sb))
		states_await(r, r->sb, STATES_FROZEN, settled);
	else
		resume_now(r);
}

/* The id stays; so does what is not told otherwise. */
static void resume_space(struct request *r)
{
	struct error err;

	if (settings_check(r, &err) < 0 || settings_apply(r, r->sb, &err) < 0)
		reply_error(r, &err);
	else
		resume(r);
}

/* An answer that comes when nobody waits. */
struct stats_call {
	struct request *r;
	bool done;
};

static void stats_end(struct request *r)
{
	struct stats_call *call = r->state;

	call->r = NULL;
	if (call->done)
		free(call);
}

static void send_stats(struct request *r, const struct usage *usage)
{
	struct stat_value values[STATS_COUNT];
	json_t *json = json_object();

	stats_of(r->sb, usage, values);
	for (size_t i = 0; i < STATS_COUNT; i++)
		json_object_set_new(json, values[i].name,
				    json_integer((json_int_t)values[i].value));
	reply_json(r, MHD_HTTP_OK, json);
}

static void answered(void *ctx, const struct usage *usage, const struct error *err)
{
	struct stats_call *call = ctx;

	call->done = true;
	if (!call->r)
		free(call);
	else if (err)
		reply_error(call->r, err);
	else
		send_stats(call->r, usage);
}

static void stats(struct request *r)
{
	struct stats_call *call = calloc(1, sizeof(*call));

	if (!call) {
		reply_say(r, ENOMEM, "no memory for this request");
		return;
	}
	call->r = r;
	r->state = call;
	r->end = stats_end;
	usage_ask(r->sb, answered, call);
}

const struct route freeze_routes[] = {
    {"POST", "/v1/sandboxes/{id}/freeze", freeze, ROUTE_SANDBOX | ROUTE_JSON},
    {"POST", "/v1/sandboxes/{id}/resume", resume, ROUTE_SANDBOX | ROUTE_JSON},
    {"POST", "/v1/spaces/{id}/resume", resume_space, ROUTE_SANDBOX | ROUTE_JSON},
    {"GET", "/v1/sandboxes/{id}/stats", stats, ROUTE_SANDBOX},
    {0},
};
