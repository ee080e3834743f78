#include "pffs/api/shown.h"

#include "pffs/core/place.h"
#include "pffs/core/stamp.h"
#include "util/cleanup.h"

json_t *shown_time(const struct timespec *at)
{
	char text[STAMP_MAX];

	return at->tv_sec ? json_string(stamp_format(at, text)) : json_null();
}

static json_t *seconds(uint64_t ms)
{
	return ms % 1000 ? json_real((double)ms / 1000.0)
			 : json_integer((json_int_t)(ms / 1000));
}

static json_t *shown_config(const struct sandbox *sb)
{
	json_t *config =
	    json_pack("{s:o, s:o, s:o, s:b, s:s}", "exec_timeout_seconds",
		      seconds(sb->exec_timeout_ms), "idle_timeout_seconds",
		      seconds(sb->limits.idle_ms), "max_lifetime_seconds",
		      seconds(sb->limits.life_ms), "persistent", sb->limits.persistent,
		      "egress", policy_egress_name(sb->net.policy->egress));

	for (int i = 0; i < RESOURCE_COUNT; i++)
		json_object_set_new(config, resources_name((enum resource)i),
				    json_integer(resources_get(sb, (enum resource)i)));
	return config;
}

json_t *shown_sandbox(const struct sandbox *sb)
{
	cleanup_free char *path = place_path(sb);
	const struct run *newest = sandbox_newest(sb);
	json_t *shown = json_pack(
	    "{s:s, s:s, s:s?, s:s, s:s, s:o, s:i, s:o, s:i, s:i, s:b, s:o}", "id", sb->id,
	    "name", sb->name, "path", path, "state", sandbox_state_name(sb), "template",
	    sb->core->templates.list[sb->template].name, "parent",
	    sb->parent_id[0] ? json_string(sb->parent_id) : json_null(), "generation",
	    (int)sb->generation, "created", shown_time(&sb->created), "run",
	    newest ? (int)newest->number : 0, "forks", (int)sandbox_count_forks(sb),
	    "egress", sb->net.policy->egress != POLICY_OFF, "config", shown_config(sb));

	if (sb->state == SANDBOX_DEAD)
		json_object_set_new(shown, "reason", json_string(sb->reason));
	return shown;
}
