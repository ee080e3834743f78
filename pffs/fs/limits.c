/*
 * config/exec_timeout, idle_timeout, max_lifetime: limits of time, in seconds; and
 * persistent: what happens to a sandbox that was idle for too long. And memory_mib, vcpus,
 * disk_mib, pids and cpu_percent: what it may take.
 */
#include "pffs/core/guest.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/text.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static uint64_t *limit_of(const struct node *node)
{
	switch (node->kind) {
	case KIND_IDLE_TIMEOUT:
		return &node->sb->limits.idle_ms;
	case KIND_MAX_LIFETIME:
		return &node->sb->limits.life_ms;
	default:
		return &node->sb->exec_timeout_ms;
	}
}

static void render_limit(const struct node *node, FILE *out)
{
	fprintf(out, "%.10g\n", (double)*limit_of(node) / 1000.0);
}

static int parse_limit(const struct node *node, const char *value, uint64_t *ms,
		       struct error *err)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end || !isfinite(seconds) || seconds < 0 ||
	    seconds > LIMIT_MAX_S)
		return error_say(err, EINVAL,
				 "%s is a number of seconds, 0 for none, not \"%.40s\"",
				 kind_info(node->kind)->name, value);
	*ms = (uint64_t)ceil(seconds * 1000.0);
	return 0;
}

static int store_limit(const struct node *node, char *value, struct error *err)
{
	uint64_t ms = 0;
	int r = parse_limit(node, value, &ms, err);

	if (r < 0)
		return r;
	if (node->kind == KIND_IDLE_TIMEOUT)
		limits_set_idle(node->sb, ms);
	else if (node->kind == KIND_MAX_LIFETIME)
		limits_set_life(node->sb, ms);
	else
		guest_set_timeout(node->sb, ms);
	return 0;
}

const struct file_ops limit_ops = {TEXT_OPS, .render = render_limit, .store = store_limit};

static void render_persistent(const struct node *node, FILE *out)
{
	fputs(node->sb->limits.persistent ? "on\n" : "off\n", out);
}

static int store_persistent(const struct node *node, char *value, struct error *err)
{
	bool on = strcmp(value, "on") == 0;

	if (!on && strcmp(value, "off") != 0)
		return error_say(err, EINVAL, "persistent is on or off, not \"%.40s\"",
				 value);
	limits_set_persistent(node->sb, on);
	return 0;
}

const struct file_ops persistent_ops = {TEXT_OPS, .render = render_persistent,
					.store = store_persistent};

static enum resource resource_of(const struct node *node)
{
	return (enum resource)(node->kind - KIND_MEMORY_MIB);
}

static void render_resource(const struct node *node, FILE *out)
{
	fprintf(out, "%u\n", resources_get(node->sb, resource_of(node)));
}

static int store_resource(const struct node *node, char *value, struct error *err)
{
	enum resource which = resource_of(node);
	size_t digits = strspn(value, "0123456789");

	if (!digits || digits > 9 || value[digits])
		return error_say(err, EINVAL,
				 "%s is a whole number, 0 for no limit, not \"%.40s\"",
				 resources_name(which), value);
	return resources_set(node->sb, which, (uint32_t)strtoul(value, NULL, 10), err);
}

const struct file_ops resource_ops = {TEXT_OPS, .render = render_resource,
				      .store = store_resource};
