/*
 * The network of a sandbox: net/ of the mount, as one document, and its log.
 */
#include "pffs/core/net/net.h"

#include "pffs/api/reply.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Return: the lines that @print prints, new. */
static json_t *lines_of(const struct sandbox *sb,
			void (*print)(const struct sandbox *sb, FILE *out))
{
	json_t *lines = json_array();
	char *text = NULL, *rest, *line;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out)
		print(sb, out);
	if (out && fclose(out) == 0)
		for (rest = text; (line = strsep(&rest, "\n"));)
			if (*line)
				json_array_append_new(lines, json_string(line));
	free(text);
	return lines;
}

/* What is never told is not in there. */
static json_t *shown(const struct sandbox *sb)
{
	const struct policy *ceiling = sb->net.ceiling;
	json_t *net = policy_json(sb->net.policy, false);
	json_t *above = ceiling ? policy_json(ceiling, false) : json_null();

	json_object_del(above, "secrets");
	json_object_set_new(net, "ports", lines_of(sb, ports_print));
	json_object_set_new(net, "ceiling", above);
	json_object_set_new(net, "uplink", json_string(net_uplink(sb->core)));
	json_object_set_new(net, "connected", json_boolean(sb->net.connected));
	return net;
}

static void get(struct request *r)
{
	reply_json(r, MHD_HTTP_OK, shown(r->sb));
}

static const json_t *given(const struct request *r, const char *key)
{
	const json_t *value = json_object_get(r->body, key);

	return json_is_null(value) ? NULL : value;
}

static int check_secrets(const json_t *secrets, struct error *err)
{
	for (size_t i = 0; i < json_array_size(secrets); i++)
		if (!json_object_get(json_array_get(secrets, i), "value"))
			return error_say(err, EINVAL,
					 "a secret has a domain, a header and a value");
	return 0;
}

/* What is not given stays as it is. Return: new; or NULL with @err filled. */
static struct policy *wanted_policy(struct request *r, struct error *err)
{
	static const char *const keys[] = {"egress", "allow", "secrets"};
	json_t *wanted = policy_json(r->sb->net.policy, true);
	struct policy *policy;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (given(r, keys[i]))
			json_object_set(wanted, keys[i], json_object_get(r->body, keys[i]));
	policy = policy_from_json(wanted, err);
	json_decref(wanted);
	if (policy && net_check(r->sb, policy, err) == 0)
		return policy;
	policy_unref(policy);
	return NULL;
}

static int set_policy(struct request *r, struct policy *policy, struct error *err)
{
	int result = net_set(r->sb, policy, err);

	net_apply(r->sb);
	if (result == 0 && given(r, "secrets"))
		net_trust(r->sb);
	return result;
}

/* All lines as one text, which is to be freed; or NULL with @err. */
static char *text_of(const json_t *lines, struct error *err)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = json_is_array(lines) ? open_memstream(&text, &len) : NULL;
	bool good = out;

	for (size_t i = 0; i < json_array_size(lines); i++) {
		const char *line = json_string_value(json_array_get(lines, i));

		good = good && line;
		if (good)
			fprintf(out, "%s\n", line);
	}
	if (out && fclose(out) == 0 && good)
		return text;
	free(text);
	error_say(err, EINVAL, "ports is to be a list of texts");
	return NULL;
}

static int set_ports(struct request *r, struct error *err)
{
	const json_t *ports = given(r, "ports");
	char *text = ports ? text_of(ports, err) : NULL;
	int result;

	if (!ports)
		return 0;
	if (!text)
		return err->code;
	result = ports_set(r->sb, text, false, err);
	free(text);
	return result;
}

/* All of it or nothing: the policy, which was looked at before, comes last. */
static int set_all(struct request *r, struct error *err)
{
	struct policy *policy = wanted_policy(r, err);
	int result = policy ? set_ports(r, err) : err->code;

	if (result == 0)
		result = set_policy(r, policy, err);
	policy_unref(policy);
	return result;
}

static void put(struct request *r)
{
	struct error err;
	int result = check_secrets(given(r, "secrets"), &err);

	if (result == 0)
		result = set_all(r, &err);
	if (result < 0)
		reply_error(r, &err);
	else
		reply_json(r, MHD_HTTP_OK, shown(r->sb));
}

struct log_call {
	uint64_t at;
	bool follow;
};

static void log_end(struct request *r)
{
	free(r->state);
}

static ssize_t send_log(struct request *r, char *to, size_t len)
{
	const struct net_log *log = &r->sb->net.log;
	struct log_call *call = r->state;
	ssize_t n;

	if (call->at < log->kept)
		call->at = log->kept;
	n = stream_read(&log->lines, call->at, to, len);
	if (n > 0)
		call->at += (uint64_t)n;
	return n == 0 && call->follow && !r->sb->gone ? -EAGAIN : n;
}

static void log_get(struct request *r)
{
	struct log_call *call;
	struct error err;
	int follow = request_query_flag(r, "follow", &err);

	if (follow < 0) {
		reply_error(r, &err);
		return;
	}
	call = calloc(1, sizeof(*call));
	if (!call) {
		reply_say(r, ENOMEM, "no memory for this request");
		return;
	}
	call->follow = follow;
	r->state = call;
	r->end = log_end;
	reply_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
	reply_stream(r, MHD_HTTP_OK, "application/x-ndjson", REPLY_OPEN, send_log);
	request_watch(r, &r->sb->net.log.watchers, request_wake);
}

const struct route net_routes[] = {
    {"GET", "/v1/sandboxes/{id}/net", get, ROUTE_SANDBOX},
    {"PUT", "/v1/sandboxes/{id}/net", put, ROUTE_SANDBOX | ROUTE_JSON},
    {"GET", "/v1/sandboxes/{id}/net/log", log_get, ROUTE_SANDBOX},
    {0},
};
