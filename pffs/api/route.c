#include "pffs/api/route.h"

#include "pffs/api/reply.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

static const struct route *const tables[] = {
    host_routes,   sandbox_routes, exec_routes,	   run_routes,
    replay_routes, stdin_routes,   fork_routes,	   merge_routes,
    freeze_routes, file_routes,	   diff_routes,	   template_routes,
    event_routes,  pty_routes,	   openapi_routes, net_routes,
};

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Return: a string to free(), or NULL: it is malformed, has a zero byte, or no memory. */
static char *decode(const char *from, size_t len, bool plus)
{
	char *text = malloc(len + 1), *to = text;
	const char *end = from + len;

	while (text && from < end) {
		int high, low;

		if (*from != '%') {
			*to = *from++;
			if (plus && *to == '+')
				*to = ' ';
			to++;
			continue;
		}
		high = end - from > 2 ? hex_value(from[1]) : -1;
		low = high >= 0 ? hex_value(from[2]) : -1;
		if (low < 0 || !(high | low)) {
			free(text);
			return NULL;
		}
		*to++ = (char)(high << 4 | low);
		from += 3;
	}
	if (text)
		*to = '\0';
	return text;
}

/* A segment of a path, or of a template. Return: its length. */
static size_t segment(const char *at)
{
	return strcspn(at, "/?");
}

static bool is_parameter(const char *at)
{
	return *at == '{';
}

static bool is_rest(const char *at, size_t len)
{
	return len > 5 && memcmp(at + len - 4, "...}", 4) == 0;
}

static bool same(const char *at, size_t len, const char *other, size_t other_len)
{
	return len == other_len && memcmp(at, other, len) == 0;
}

/* Has the path of @uri this template? */
static bool matches(const char *template, const char *uri)
{
	for (;;) {
		size_t len = segment(template), given = segment(uri);

		if (is_rest(template, len))
			return true;
		if (is_parameter(template) ? !given : !same(template, len, uri, given))
			return false;
		template += len;
		uri += given;
		if (!*template || *uri != '/')
			break;
		template ++;
		uri++;
	}
	/* A rest may be missing, with the / before it. */
	return *uri != '/' && (!*template || is_rest(template + 1, segment(template + 1)));
}

static bool fill_parameters(struct request *r)
{
	const char *template = r->route->template, *uri = r->uri;
	unsigned count = 0;

	while (*template) {
		size_t len = segment(template), given = segment(uri);

		if (is_rest(template, len))
			given = strcspn(uri, "?");
		if (is_parameter(template)) {
			r->parameters[count] = decode(uri, given, false);
			if (!r->parameters[count++])
				return false;
		}
		template += len + (template[len] == '/');
		uri += given + (uri[given] == '/');
	}
	return true;
}

static bool add_value(struct request *r, const char *pair, size_t len)
{
	const char *is = memchr(pair, '=', len);
	size_t name = is ? (size_t)(is - pair) : len;
	struct request_value *value = &r->query[r->query_count];

	if (!len)
		return true;
	if (r->query_count == REQUEST_QUERY_MAX)
		return false;
	r->query_count++;
	value->name = decode(pair, name, true);
	value->value = is ? decode(is + 1, len - name - 1, true) : strdup("");
	return value->name && value->value;
}

static bool fill_query(struct request *r)
{
	const char *at = strchr(r->uri, '?');

	while (at && *at) {
		size_t len;

		at++;
		len = strcspn(at, "&");
		if (!add_value(r, at, len))
			return false;
		at += len;
	}
	return true;
}

static bool is_method(const char *method, const struct route *route)
{
	return strcmp(method, route->method) == 0 ||
	       (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* Is @method in the list? */
static bool is_named(const char *list, const char *method)
{
	size_t len = strlen(method);

	for (; *list; list += strspn(list, ", ")) {
		size_t name = strcspn(list, ",");

		if (same(list, name, method, len))
			return true;
		list += name;
	}
	return false;
}

/* A literal template comes before one with a parameter at the same place: the tables say
 * so by their order. @allow: gets the methods of what the path is, if none is right. */
static const struct route *look_up(const char *uri, const char *method, char *allow,
				   size_t size)
{
	const struct route *route;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (route = tables[i]; route->method; route++) {
			size_t used = strlen(allow);

			if (!matches(route->template, uri))
				continue;
			if (is_method(method, route))
				return route;
			if (is_named(allow, route->method))
				continue;
			snprintf(allow + used, size - used, "%s%s", used ? ", " : "",
				 route->method);
		}
	return NULL;
}

bool route_find(struct request *r, const char *method)
{
	char allow[128] = "";

	r->route = look_up(r->uri, method, allow, sizeof(allow));
	if (r->route) {
		if (fill_parameters(r) && fill_query(r))
			return true;
		reply_say(r, EINVAL, "the path or the query is malformed");
	} else if (*allow) {
		reply_header(r, "Allow", allow);
		reply_json(r, MHD_HTTP_METHOD_NOT_ALLOWED,
			   json_pack("{s:s+, s:s}", "error", "here goes: ", allow, "code",
				     "ENOTSUP"));
	} else {
		reply_say(r, ENOENT,
			  "there is nothing here: docs/http.md, or GET "
			  "/v1/openapi.json, says what there is");
	}
	return false;
}
