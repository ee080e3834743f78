/*
 * What is asked of pffs as a whole.
 */
#include "config.h"

#include "pffs/api/reply.h"
#include "pffs/core/core.h"
#include "util/io.h"

#include <string.h>

static void health(struct request *r)
{
	reply_text(r, MHD_HTTP_OK, "ok");
}

/* Lines KEY VALUE of where we listen, as in the mount's `host`. */
static json_t *addresses(const struct server *server, const char *key)
{
	json_t *list = json_array();
	const char *line = server->where;
	size_t len = strlen(key);

	for (; line && *line; line += strcspn(line, "\n") + 1)
		if (strncmp(line, key, len) == 0)
			json_array_append_new(
			    list, json_stringn(line + len, strcspn(line, "\n") - len));
	return list;
}

static json_t *network(const struct core *core)
{
	return json_pack("{s:s, s:s}", "uplink", net_uplink(core), "why", core->net.why);
}

static void host(struct request *r)
{
	const struct core *core = r->core;
	const struct caps *caps = &core->options.caps;
	uint64_t uptime = (io_monotonic_ns() - core->started_ns) / 1000000000u;
	uint64_t memory = caps_memory_mib(core) << 20;

	reply_json(
	    r, MHD_HTTP_OK,
	    json_pack(
		"{s:s, s:s, s:i, s:s, s:i, s:I, s:i, s:I, s:o, s:o, s:s?, s:o, s:o, s:o}",
		"engine", core->engine[0] ? core->engine : "none", "version",
		PACKAGE_VERSION, "pid", (int)getpid(), "user", core->options.user,
		"landlock", (int)core->options.landlock, "uptime", (json_int_t)uptime,
		"sandboxes", (int)core->sandbox_count, "memory", (json_int_t)memory,
		"sandboxes_max",
		caps->sandboxes ? json_integer(caps->sandboxes) : json_null(), "memory_max",
		caps->memory_mib ? json_integer((json_int_t)caps->memory_mib << 20)
				 : json_null(),
		"mount", core->options.mountpoint, "api", addresses(r->server, "api "),
		"http", addresses(r->server, "http "), "network", network(core)));
}

const struct route host_routes[] = {
    {"GET", "/v1/healthz", health, ROUTE_OPEN},
    {"GET", "/v1/host", host, 0},
    {0},
};
