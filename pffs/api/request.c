#include "pffs/api/request.h"

#include "pffs/api/reply.h"
#include "pffs/api/visitor.h"
#include "pffs/core/place.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* Also http://HOST:PORT/PATH may be asked for (RFC 9112, 3.2.2). Return: whether there was
 * memory. */
static bool take_uri(struct request *r, const char *uri)
{
	size_t len;

	if (strncasecmp(uri, "http://", 7) == 0) {
		uri += 7;
		len = strcspn(uri, "/?");
		r->authority = strndup(uri, len);
		uri += len;
		if (!r->authority)
			return false;
	}
	r->uri = strdup(uri);
	return r->uri;
}

void *request_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct listener *listener = cls;
	struct server *server = listener->server;
	struct request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct request){.server = server,
			      .listener = listener,
			      .core = server->core,
			      .connection = connection,
			      .peer = LOOP_SOURCE_NONE};
	list_init(&r->link);
	list_init(&r->watch.link);
	if (!take_uri(r, uri)) {
		free(r->authority);
		free(r);
		return NULL;
	}
	list_add_before(&server->requests, &r->link);
	return r;
}

static void looked(struct loop_timer *timer)
{
	struct request *r = container_of(timer, struct request, again);

	r->look(r);
}

static void changed(struct watch *watch)
{
	request_look(container_of(watch, struct request, watch), 0);
}

void request_watch(struct request *r, struct link *watchers,
		   void (*look)(struct request *r))
{
	list_del(&r->watch.link);
	r->look = look;
	watch_add(watchers, &r->watch, changed);
}

void request_unwatch(struct request *r)
{
	list_del(&r->watch.link);
	if (r->again.fn)
		loop_timer_cancel(&r->again);
}

void request_look(struct request *r, uint64_t delay_ms)
{
	if (!r->again.fn)
		loop_timer_init(&r->again, looked);
	if (!delay_ms || !r->again.deadline_ns)
		loop_timer_set(r->server->loop, &r->again, delay_ms);
}

static void resume(struct request *r)
{
	if (!r->suspended)
		return;
	r->suspended = false;
	loop_del(r->server->loop, &r->peer);
	MHD_resume_connection(r->connection);
	listener_run_soon(r->listener);
}

/* One that says nothing more may still listen. Whether it does the kernel asks its
 * machine from now on: of one that has gone it tells after a minute, or when it is sent
 * something. */
static void peer_is_done(struct request *r)
{
	const int seconds = 15;

	r->said_all = true;
	loop_mod(r->server->loop, &r->peer, 0);
	setsockopt(r->peer.fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
	setsockopt(r->peer.fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
}

static void peer_changed(struct loop_source *source, uint32_t revents)
{
	struct request *r = container_of(source, struct request, peer);

	if (revents & (EPOLLHUP | EPOLLERR))
		request_break(r);
	else
		peer_is_done(r);
}

void request_park(struct request *r)
{
	const struct visitor *visitor = visitor_of(r->connection);

	r->suspended = true;
	MHD_suspend_connection(r->connection);
	if (visitor)
		loop_add(r->server->loop, &r->peer, visitor->fd,
			 r->said_all ? 0 : EPOLLRDHUP, peer_changed);
}

void request_break(struct request *r)
{
	r->gone = true;
	resume(r);
}

void request_wake(struct request *r)
{
	resume(r);
}

void request_hold(struct request *r)
{
	r->held = true;
}

void request_release(struct request *r)
{
	r->held = false;
	resume(r);
}

/* Without a key, it has to be certain that no web page of somebody else asks. */
static bool may_ask(struct request *r)
{
	const struct auth *auth = &r->server->auth;

	if (r->listener->local || (r->route && r->route->flags & ROUTE_OPEN))
		return true;
	if (auth->count) {
		if (auth_key_ok(auth, request_header(r, "Authorization")))
			return true;
		reply_header(r, "WWW-Authenticate", "Bearer");
		reply_json(r, MHD_HTTP_UNAUTHORIZED,
			   json_pack("{s:s, s:s}", "error",
				     "this needs a key: Authorization: Bearer KEY", "code",
				     "EACCES"));
		return false;
	}
	if (auth_page_ok(r->authority ? r->authority : request_header(r, "Host"),
			 request_header(r, "Origin"), request_header(r, "Sec-Fetch-Site")))
		return true;
	reply_say(r, EACCES, "this is for programs of this machine, not for web pages");
	return false;
}

static bool resolve_sandbox(struct request *r)
{
	struct sandbox *sb;

	if (!(r->route->flags & ROUTE_SANDBOX))
		return true;
	sb = request_find_sandbox(r, r->parameters[0]);
	if (sb)
		r->sb = sandbox_ref(sb);
	return sb;
}

static size_t body_max(const struct request *r)
{
	return r->route->flags & ROUTE_LARGE ? REQUEST_LARGE_MAX : REQUEST_BODY_MAX;
}

static bool body_fits(struct request *r)
{
	const char *length = request_header(r, "Content-Length");

	if (r->route->flags & ROUTE_PIECES || !length ||
	    strtoull(length, NULL, 10) <= body_max(r))
		return true;
	reply_say(r, EFBIG, "a body of this is at most %zu MiB", body_max(r) >> 20);
	return false;
}

static enum MHD_Result count_length(void *cls, enum MHD_ValueKind kind, const char *name,
				    const char *value)
{
	unsigned *count = cls;

	(void)kind;
	(void)value;
	*count += strcasecmp(name, "Content-Length") == 0 ||
		  strcasecmp(name, "Transfer-Encoding") == 0;
	return MHD_YES;
}

/* Whoever stands between may see another one where this one ends. */
static bool has_one_length(struct request *r)
{
	unsigned count = 0;

	MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_length, &count);
	if (count <= 1)
		return true;
	reply_header(r, "Connection", "close");
	reply_say(r, EINVAL, "the request has more than one length");
	return false;
}

static void begin(struct request *r, const char *method)
{
	bool found = route_find(r, method);
	bool may = may_ask(r) && has_one_length(r);

	r->begun = true;
	r->refused = !found || !may || !body_fits(r) || !resolve_sandbox(r);
	if (r->refused)
		return;
	visitor_hears(r->connection);
	if (r->route->flags & ROUTE_PIECES) {
		visitor_begins(r->connection);
		r->route->handle(r);
	}
}

/* Return: 0 or -errno with @err filled. */
static int keep(struct request *r, const char *data, size_t size, struct error *err)
{
	size_t before = r->raw.len;

	if (before + size > body_max(r))
		return error_say(err, EFBIG, "a body of this is at most %zu MiB",
				 body_max(r) >> 20);
	if (r->server->bodies + size > REQUEST_ALL_MAX)
		return error_say(
		    err, ENOMEM,
		    "more than %u MiB are being sent at a time: try again later",
		    REQUEST_ALL_MAX >> 20);
	if (buf_append(&r->raw, data, size) < 0)
		return error_say(err, ENOMEM, "no memory for the request's body");
	r->counted += size;
	r->server->bodies += size;
	if (before >> 20 != r->raw.len >> 20)
		visitor_hears(r->connection);
	return 0;
}

static void forget_body(struct request *r)
{
	buf_fini(&r->raw);
	r->server->bodies -= r->counted;
	r->counted = 0;
}

/* What is left of the body is heard, for a while. */
static void refuse(struct request *r)
{
	if (r->refused)
		return;
	r->refused = true;
	forget_body(r);
	visitor_hears(r->connection);
}

/* Answered before its end: what is left of the body is heard, and thrown away, since a
 * client that is still sending would not see an answer. */
static enum MHD_Result take(struct request *r, const char *data, size_t *size)
{
	struct error err;
	int taken = 0;

	if (r->response)
		refuse(r);
	if (r->held && !r->response) {
		request_park(r);
		return MHD_YES;
	}
	if (!r->refused && r->piece)
		taken = r->piece(r, data, *size, &err);
	else if (!r->refused && r->route->flags & ROUTE_JSON)
		taken = keep(r, data, *size, &err);
	*size = 0;
	if (taken < 0) {
		refuse(r);
		reply_error(r, &err);
	}
	return MHD_YES;
}

/* It may have gone while the body came. */
static bool still_there(struct request *r)
{
	if (!r->sb || (!r->sb->gone && sandbox_is_shown(r->sb)))
		return true;
	reply_say(r, ENOENT, "%s has been removed", r->sb->name);
	return false;
}

static void parsed(void *ctx, json_t *json, const json_error_t *why)
{
	struct request *r = ctx;

	r->parse = NULL;
	r->body = json;
	forget_body(r);
	if (json_is_object(json)) {
		if (still_there(r))
			r->route->handle(r);
	} else if (json) {
		reply_say(r, EINVAL, "the body is to be a JSON object");
	} else {
		reply_say(r, EINVAL, "the body is no JSON that is taken here: %s (line %d)",
			  why->text, why->line);
	}
	if (r->route->flags & ROUTE_LARGE) {
		json_decref(r->body);
		r->body = NULL;
	}
}

static void handle_body(struct request *r)
{
	struct parse *parse;

	if (!r->raw.len) {
		r->body = json_object();
		r->route->handle(r);
		return;
	}
	parse = parse_begin(r->server->loop, &r->raw, parsed, r);
	if (parse)
		r->parse = parse;
}

static void handle(struct request *r)
{
	r->handled = true;
	visitor_waits(r->connection, true);
	if (r->refused)
		return;
	visitor_begins(r->connection);
	if (r->response || !still_there(r))
		return;
	if (r->route->flags & ROUTE_JSON)
		handle_body(r);
	else if (!(r->route->flags & ROUTE_PIECES))
		r->route->handle(r);
	else if (r->whole)
		r->whole(r);
}

enum MHD_Result request_step(void *cls, struct MHD_Connection *connection, const char *url,
			     const char *method, const char *version, const char *data,
			     size_t *size, void **ctx)
{
	struct request *r = *ctx;

	(void)cls;
	(void)connection;
	(void)url;
	(void)version;
	if (!r || r->gone || (r->server->ending && !r->handled && !r->response))
		return MHD_NO;
	if (!r->begun) {
		begin(r, method);
		/* Who asks before he sends is told before. */
		return r->refused && request_header(r, "Expect") ? reply_queue(r) : MHD_YES;
	}
	if (*size)
		return take(r, data, size);
	if (!r->handled && !r->held)
		handle(r);
	if (r->response)
		return reply_queue(r);
	if (r->gone)
		return MHD_NO;
	request_park(r);
	return MHD_YES;
}

static void forget_values(struct request *r)
{
	for (size_t i = 0; i < r->query_count; i++) {
		free(r->query[i].name);
		free(r->query[i].value);
	}
	for (size_t i = 0; i < ROUTE_PARAMETERS; i++)
		free(r->parameters[i]);
	free(r->uri);
	free(r->authority);
}

void request_completed(void *cls, struct MHD_Connection *connection, void **ctx,
		       enum MHD_RequestTerminationCode code)
{
	struct request *r = *ctx;

	(void)cls;
	if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		visitor_waits(connection, false);
	if (!r)
		return;
	*ctx = NULL;
	request_unwatch(r);
	parse_cancel(r->parse);
	if (r->end)
		r->end(r);
	loop_del(r->server->loop, &r->peer);
	list_del(&r->link);
	if (r->response)
		MHD_destroy_response(r->response);
	json_decref(r->headers);
	json_decref(r->body);
	forget_body(r);
	forget_values(r);
	sandbox_unref(r->sb);
	free(r);
}

struct sandbox *request_find_sandbox(struct request *r, const char *which)
{
	struct sandbox *sb = place_find(r->core, which);

	if (!sb)
		reply_say(r, ENOENT, "there is no sandbox %.100s", which);
	return sb;
}

const char *request_query(const struct request *r, const char *name)
{
	for (size_t i = 0; i < r->query_count; i++)
		if (strcmp(r->query[i].name, name) == 0)
			return r->query[i].value;
	return NULL;
}

int request_query_flag(const struct request *r, const char *name, struct error *err)
{
	const char *value = request_query(r, name);

	if (!value || strcmp(value, "false") == 0)
		return 0;
	if (strcmp(value, "true") == 0)
		return 1;
	return error_say(err, EINVAL, "%s is true or false, not \"%.40s\"", name, value);
}

const char *request_header(const struct request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

/* null is as if it were not there. */
static const json_t *field(const struct request *r, const char *name)
{
	const json_t *value = json_object_get(r->body, name);

	return json_is_null(value) ? NULL : value;
}

int request_text(const struct request *r, const char *name, const char **text,
		 struct error *err)
{
	const json_t *value = field(r, name);

	if (value && !json_is_string(value))
		return error_say(err, EINVAL, "%s is to be a string", name);
	if (value)
		*text = json_string_value(value);
	return 0;
}

int request_flag(const struct request *r, const char *name, bool *flag, struct error *err)
{
	const json_t *value = field(r, name);

	if (value && !json_is_boolean(value))
		return error_say(err, EINVAL, "%s is to be true or false", name);
	if (value)
		*flag = json_is_true(value);
	return 0;
}

int request_number(const struct request *r, const char *name, int64_t min, int64_t max,
		   int64_t *number, struct error *err)
{
	const json_t *value = field(r, name);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < min ||
	    json_integer_value(value) > max)
		return error_say(err, EINVAL,
				 "%s is to be a whole number from %lld to %lld", name,
				 (long long)min, (long long)max);
	*number = json_integer_value(value);
	return 0;
}
