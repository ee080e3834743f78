/*
 * Events: the lines of the mount's `events`, as Server-Sent Events or as they are.
 *
 * A line is made when the client takes the one before: one that does not read has nothing
 * of them in memory, and is told how many it lost when it goes on.
 */
#include "pffs/core/events.h"

#include "pffs/api/reply.h"
#include "pffs/core/sandbox.h"
#include "util/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct events_call {
	struct events_reader reader;
	struct buf bytes; /* of the line that is being sent */
	bool follow, lines;
};

static void call_end(struct request *r)
{
	struct events_call *call = r->state;

	buf_fini(&call->bytes);
	free(call);
}

/* What was lost has no number. Return: 0 or -ENOMEM. */
static int put_event(struct buf *to, const char *line)
{
	json_t *event = json_loads(line, 0, NULL);
	const json_t *seq = json_object_get(event, "seq");
	const char *name = json_string_value(json_object_get(event, "event"));
	char id[32] = "", *text;
	int len, r;

	if (seq)
		snprintf(id, sizeof(id), "id: %lld\n", (long long)json_integer_value(seq));
	len = asprintf(&text, "%sevent: %s\ndata: %s\n", id, name ? name : "message", line);
	json_decref(event);
	if (len < 0)
		return -ENOMEM;
	r = buf_append(to, text, (size_t)len);
	free(text);
	return r;
}

static int put_line(struct events_call *call, const char *line)
{
	return call->lines ? buf_append(&call->bytes, line, strlen(line))
			   : put_event(&call->bytes, line);
}

/* Of a sandbox that has gone no more events come. */
static bool is_over(const struct request *r)
{
	const struct events_call *call = r->state;

	return !call->follow || (r->sb && r->sb->gone);
}

static ssize_t send_events(struct request *r, char *to, size_t len)
{
	struct events_call *call = r->state;
	char *line;
	int e;

	while (call->bytes.len < len &&
	       (line = events_next(&r->core->events, &call->reader))) {
		e = put_line(call, line);
		free(line);
		if (e < 0)
			return e;
	}
	if (!call->bytes.len)
		return is_over(r) ? 0 : -EAGAIN;
	if (len > call->bytes.len)
		len = call->bytes.len;
	memcpy(to, buf_peek(&call->bytes), len);
	buf_consume(&call->bytes, len);
	return (ssize_t)len;
}

static bool number(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *value < EVENTS_NOW - 1;
}

static int begin(struct request *r, uint64_t from)
{
	struct events_call *call = r->state;

	return events_begin(&r->core->events, &call->reader, r->sb ? r->sb->serial : 0,
			    r->sb ? r->sb->event_count : 0, from);
}

/* A client that comes again says what it had last. That may have been another pffs, whose
 * numbers were higher: then it gets all there is. Return: 0 or -EINVAL with @err filled. */
static int find_start(struct request *r, struct error *err)
{
	const char *since = request_query(r, "since");
	const char *last = request_header(r, "Last-Event-ID");
	uint64_t from = EVENTS_NOW;

	if (last && *last) {
		if (!number(last, &from))
			return error_say(err, EINVAL,
					 "Last-Event-ID is the seq of an event");
		from++;
		if (from > r->core->events.next)
			from = EVENTS_ALL_KEPT;
	}
	if (since && !number(since, &from))
		return error_say(err, EINVAL, "since is the seq of an event, or 0");
	if (begin(r, from) < 0)
		return error_say(err, EINVAL,
				 "there is no such event yet: the next is %llu",
				 (unsigned long long)r->core->events.next);
	return 0;
}

static int parse(struct request *r, struct error *err)
{
	struct events_call *call = r->state;
	const char *accept = request_header(r, MHD_HTTP_HEADER_ACCEPT);
	int follow = 0;

	call->lines = accept && strstr(accept, "application/x-ndjson");
	call->follow = true;
	if (request_query(r, "follow")) {
		follow = request_query_flag(r, "follow", err);
		call->follow = follow == 1;
	}
	return follow < 0 ? follow : find_start(r, err);
}

static void events(struct request *r)
{
	struct events_call *call = calloc(1, sizeof(*call));
	struct error err;

	if (!call) {
		reply_say(r, ENOMEM, "no memory for this request");
		return;
	}
	r->state = call;
	r->end = call_end;
	if (parse(r, &err) < 0) {
		reply_error(r, &err);
		return;
	}
	reply_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
	reply_stream(r, MHD_HTTP_OK,
		     call->lines ? "application/x-ndjson" : "text/event-stream", REPLY_OPEN,
		     send_events);
	request_watch(r, &r->core->events.watchers, request_wake);
}

const struct route event_routes[] = {
    {"GET", "/v1/events", events, 0},
    {"GET", "/v1/sandboxes/{id}/events", events, ROUTE_SANDBOX},
    {0},
};
