/*
 * Theory of operation
 *
 * The reply to a request with FILES_WATCH is completed while no other reply can be sent,
 * and behind what windows_close() did. So attributes that are sent later are newer, and
 * what somebody else changes behind them is told.
 *
 * The names of a list are read before that, and changes with a window are not told. So
 * who lists a directory compares how many there were when it began, and when its reply
 * is sent: what changed in between may be missing, and the reply has no watch then.
 */
#include "guest/files/call.h"

#include <errno.h>

static bool same(const struct files_attr *a, const struct files_attr *b)
{
	return a->ino == b->ino && a->dev == b->dev;
}

static int attr_at(const struct place *place, struct files_attr *attr)
{
	return attr_of(place->dir, place->name, attr);
}

/* Does the name belong to the file that has these attributes, which may be older? */
static bool is_at(const struct place *place, struct files_attr *attr)
{
	struct files_attr now;

	if (place->watch <= 0 || attr_at(place, &now) < 0 || !same(&now, attr))
		return false;
	*attr = now;
	return true;
}

/* The directories behind the change. */
static void tell_dirs(struct call *call)
{
	struct files_reply *reply = &call->reply;

	reply->has_dir =
	    call->places[0].dir >= 0 && attr_of(call->places[0].dir, "", &reply->dir) == 0;
	reply->has_dir2 =
	    call->places[1].dir >= 0 && attr_of(call->places[1].dir, "", &reply->dir2) == 0;
	if (!reply->has_dir)
		reply->watch = -1;
}

int settle_self(struct call *call)
{
	return call_attr(call, call->file);
}

/* FILES_CLOSE has filled in the attributes while the file was open. */
int settle_file(struct call *call)
{
	struct files_reply *reply = &call->reply;
	int r = reply->has_attr ? 0 : call_attr(call, call->file);

	if (r < 0 || !call->tells)
		return r;
	if (!is_at(&call->places[0], &reply->attr))
		reply->watch = -1;
	return 0;
}

int settle_open(struct call *call)
{
	int r = settle_file(call);

	if (r == 0 && call->tells)
		tell_dirs(call);
	return r;
}

static int settle_root(struct call *call)
{
	return call_attr(call, call->server->root);
}

int settle_name(struct call *call)
{
	struct files_reply *reply = &call->reply;
	int r;

	if (call->places[0].dir < 0)
		return settle_root(call);
	r = attr_at(&call->places[0], &reply->attr);
	reply->has_attr = r == 0;
	if (r < 0 || !call->tells)
		return r;
	tell_dirs(call);
	if (reply->has_dir2 && !same(&reply->attr, &reply->dir2))
		reply->watch2 = -1;
	return 0;
}

int settle_gone(struct call *call)
{
	struct files_attr attr;

	if (attr_at(&call->places[0], &attr) != -ENOENT)
		call->reply.watch = -1;
	tell_dirs(call);
	return 0;
}

int settle_linked(struct call *call)
{
	struct files_reply *reply = &call->reply;
	int r = call_attr(call, call->file);

	if (r < 0 || !call->tells)
		return r;
	if (!is_at(&call->places[0], &reply->attr))
		reply->watch = -1;
	if (!is_at(&call->places[1], &reply->attr))
		reply->watch2 = -1;
	tell_dirs(call);
	return 0;
}

int settle_moved(struct call *call)
{
	struct files_reply *reply = &call->reply;
	int r = attr_at(&call->places[0], &reply->attr2);

	reply->has_attr2 = r == 0 && call->req.flags & FILES_EXCHANGE;
	if (r != (call->req.flags & FILES_EXCHANGE ? 0 : -ENOENT))
		reply->watch = -1;
	reply->has_attr = attr_at(&call->places[1], &reply->attr) == 0;
	if (!reply->has_attr)
		reply->watch2 = -1;
	tell_dirs(call);
	return 0;
}

static atomic_uint *changed(struct server *server, int watch)
{
	return &server->changed[(unsigned int)watch % CHANGED_MAX];
}

/* A list that goes on compares with its beginning. */
int settle_list(struct call *call)
{
	struct files_reply *reply = &call->reply;
	struct handle *handle = call->handle;

	if (reply->watch > 0) {
		if (call->req.offset == 0 && handle)
			handle->changed = call->changed;
		else if (handle)
			call->changed = handle->changed;
		if ((call->req.offset && !handle) ||
		    atomic_load(changed(call->server, reply->watch)) != call->changed)
			reply->watch = -1;
	}
	return call_attr(call, call->fd);
}

unsigned int changes_so_far(struct server *server, int watch)
{
	return watch > 0 ? atomic_load(changed(server, watch)) : 0;
}

void settle_watches(struct call *call)
{
	for (struct place *p = call->places; p < call->places + PLACES; p++)
		if (p->watch > 0)
			atomic_fetch_add(changed(call->server, p->watch), 1);
	call->reply.watch = call->places[0].watch > 0 ? call->places[0].watch : -1;
	call->reply.watch2 = call->places[1].watch > 0 ? call->places[1].watch : 0;
}
