/*
 * Forks, and what comes back of them.
 */
#include "pffs/api/making.h"
#include "pffs/api/reply.h"
#include "pffs/api/shown.h"
#include "pffs/core/merge/merge.h"
#include "pffs/core/merge/rouse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int tell_made(struct request *r, struct sandbox **made, size_t count,
		     struct error *err)
{
	json_t *children = json_array(), *sandboxes = json_array();

	(void)err;
	for (size_t i = 0; i < count; i++) {
		json_array_append_new(children, json_string(made[i]->id));
		json_array_append_new(sandboxes, shown_sandbox(made[i]));
	}
	reply_json(r, MHD_HTTP_OK,
		   json_pack("{s:o, s:o}", "children", children, "sandboxes", sandboxes));
	return 0;
}

/* @names: room for FORK_MAX. */
static int read_order(const struct request *r, struct fork_order *order, const char **names,
		      struct error *err)
{
	const json_t *list = json_object_get(r->body, "names");
	int64_t n = 1;
	int result = request_number(r, "n", 1, FORK_MAX, &n, err);

	if (result < 0)
		return result;
	order->count = (size_t)n;
	if (!list || json_is_null(list))
		return 0;
	order->count = json_array_size(list);
	if (order->count < 1 || order->count > FORK_MAX)
		return error_say(err, EINVAL, "names is to be a list of 1 to %d names",
				 FORK_MAX);
	for (size_t i = 0; i < order->count; i++) {
		names[i] = json_string_value(json_array_get(list, i));
		if (!names[i])
			return error_say(err, EINVAL, "a name is to be a string");
	}
	order->names = names;
	return 0;
}

static void fork_it(struct request *r)
{
	struct fork_order order = {
	    .folder = FOLDER_FORKS(r->sb->serial), .uid = r->sb->uid, .gid = r->sb->gid};
	const char *names[FORK_MAX];
	struct making *making;
	struct error err;

	if (read_order(r, &order, names, &err) < 0) {
		reply_error(r, &err);
		return;
	}
	making = making_new(r, order.count, tell_made);
	if (!making) {
		reply_say(r, ENOMEM, "no memory for a fork");
		return;
	}
	order.handle = &making->fork;
	if (fork_begin(r->sb, &order, making_made, making, &err) < 0)
		reply_error(r, &err);
}

/* A merge goes on when its client has gone. */
struct merging {
	struct request *r; /* NULL: has gone */
	struct rouse rouse;
	bool merging;
	struct sandbox *winner;
	char *name[1]; /* the winner's */
	struct merge *merge;
};

static void merging_free(struct merging *merging)
{
	rouse_cancel(&merging->rouse);
	sandbox_unref(merging->winner);
	free(merging->name[0]);
	free(merging);
}

static void merging_over(struct request *r)
{
	struct merging *merging = r->state;

	merging->r = NULL;
	if (!merging->merging)
		merging_free(merging);
}

static void merged(void *ctx, const struct error *err)
{
	struct merging *merging = ctx;

	merging->merging = false;
	if (!merging->r)
		merging_free(merging);
	else if (err)
		reply_error(merging->r, err);
	else
		reply_empty(merging->r, MHD_HTTP_NO_CONTENT);
}

static void merge_now(struct rouse *rouse)
{
	struct merging *merging = container_of(rouse, struct merging, rouse);
	struct request *r = merging->r;
	struct error err;

	merging->merging = true;
	if (merge_begin(r->sb, merging->name[0], merged, merging, &merging->merge, &err) ==
	    0)
		return;
	merging->merging = false;
	reply_error(r, &err);
}

static void merge_into(struct request *r)
{
	struct sandbox *winner = request_find_sandbox(r, r->parameters[1]);
	struct merging *merging;

	if (!winner)
		return;
	if (winner->folder != FOLDER_FORKS(r->sb->serial)) {
		reply_say(r, EINVAL, "%s is no fork of %s", winner->name, r->sb->name);
		return;
	}
	merging = calloc(1, sizeof(*merging));
	if (merging)
		merging->name[0] = strdup(winner->name);
	if (!merging || !merging->name[0]) {
		free(merging);
		reply_say(r, ENOMEM, "no memory for a merge");
		return;
	}
	merging->r = r;
	merging->winner = sandbox_ref(winner);
	r->state = merging;
	r->end = merging_over;
	rouse_begin(&merging->rouse, r->sb, merging->name, 1, merge_now);
}

const struct route fork_routes[] = {
    {"POST", "/v1/sandboxes/{id}/fork", fork_it, ROUTE_SANDBOX | ROUTE_JSON},
    {"POST", "/v1/sandboxes/{id}/merge_into/{winner}", merge_into, ROUTE_SANDBOX},
    {0},
};
