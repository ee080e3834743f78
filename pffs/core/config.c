#include "pffs/core/config.h"

#include "pffs/core/guest/guest.h"
#include "pffs/core/record/journal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CONFIG_NUMBERS + 1] = {
    [CONFIG_EXEC_TIMEOUT] = "exec_timeout",
    [CONFIG_IDLE_TIMEOUT] = "idle_timeout",
    [CONFIG_MAX_LIFETIME] = "max_lifetime",
    [CONFIG_PERSISTENT] = "persistent",
    [CONFIG_EGRESS] = "egress",
    [CONFIG_DIFF_PATHS] = "diff_paths",
};

static const char *name_of(enum config_key key)
{
	return names[key] ? names[key]
			  : resources_name((enum resource)(key - CONFIG_RESOURCES));
}

static int parse_seconds(const char *name, const char *value, uint64_t *ms,
			 struct error *err)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end || !isfinite(seconds) || seconds < 0 ||
	    seconds > LIMIT_MAX_S)
		return error_say(err, EINVAL,
				 "%s is a number of seconds, 0 for none, not \"%.40s\"",
				 name, value);
	*ms = (uint64_t)ceil(seconds * 1000.0);
	return 0;
}

static int parse_switch(const char *name, const char *value, uint64_t *on,
			struct error *err)
{
	*on = strcmp(value, "on") == 0;
	if (!*on && strcmp(value, "off") != 0)
		return error_say(err, EINVAL, "%s is on or off, not \"%.40s\"", name,
				 value);
	return 0;
}

static int parse_egress(const char *value, uint64_t *number, struct error *err)
{
	enum policy_egress egress = POLICY_ON;
	int r = policy_egress_parse(value, &egress, err);

	*number = egress;
	return r;
}

static int parse_count(const char *name, const char *value, uint64_t *count,
		       struct error *err)
{
	size_t digits = strspn(value, "0123456789");

	if (!digits || digits > 9 || value[digits])
		return error_say(err, EINVAL,
				 "%s is a whole number, 0 for no limit, not \"%.40s\"",
				 name, value);
	*count = strtoul(value, NULL, 10);
	return 0;
}

static int parse(enum config_key key, const char *value, uint64_t *number,
		 struct error *err)
{
	if (key < CONFIG_PERSISTENT)
		return parse_seconds(name_of(key), value, number, err);
	if (key == CONFIG_PERSISTENT)
		return parse_switch(name_of(key), value, number, err);
	if (key == CONFIG_EGRESS)
		return parse_egress(value, number, err);
	return parse_count(name_of(key), value, number, err);
}

int config_set(struct sandbox *sb, enum config_key key, const char *value,
	       struct error *err)
{
	uint64_t number = 0;
	int r = parse(key, value, &number, err);

	if (r < 0)
		return r;
	if (key >= CONFIG_RESOURCES)
		return resources_set(sb, (enum resource)(key - CONFIG_RESOURCES),
				     (uint32_t)number, err);
	if (key == CONFIG_EGRESS)
		return net_set_egress(sb, value, err);
	if (key == CONFIG_EXEC_TIMEOUT)
		guest_set_timeout(sb, number);
	else if (key == CONFIG_IDLE_TIMEOUT)
		limits_set_idle(sb, number);
	else if (key == CONFIG_MAX_LIFETIME)
		limits_set_life(sb, number);
	else
		limits_set_persistent(sb, number);
	return 0;
}

static void print_seconds(uint64_t ms, FILE *out)
{
	fprintf(out, "%.10g\n", (double)ms / 1000.0);
}

void config_print(const struct sandbox *sb, enum config_key key, FILE *out)
{
	if (key == CONFIG_EXEC_TIMEOUT)
		print_seconds(sb->exec_timeout_ms, out);
	else if (key == CONFIG_IDLE_TIMEOUT)
		print_seconds(sb->limits.idle_ms, out);
	else if (key == CONFIG_MAX_LIFETIME)
		print_seconds(sb->limits.life_ms, out);
	else if (key == CONFIG_PERSISTENT)
		fputs(sb->limits.persistent ? "on\n" : "off\n", out);
	else if (key == CONFIG_EGRESS)
		fprintf(out, "%s\n", policy_egress_name(sb->net.policy->egress));
	else if (key != CONFIG_DIFF_PATHS)
		fprintf(out, "%u\n",
			resources_get(sb, (enum resource)(key - CONFIG_RESOURCES)));
	else if (sb->diff_paths)
		fputs(sb->diff_paths, out);
}

static int check_paths(const char *text, size_t len, struct error *err)
{
	if (len > DIFF_PATHS_MAX || memchr(text, '\0', len))
		return error_say(err, EINVAL, "diff_paths is text of at most %u bytes",
				 DIFF_PATHS_MAX);
	return 0;
}

int config_set_paths(struct sandbox *sb, const char *text, size_t len, struct error *err)
{
	int r = check_paths(text, len, err);
	char *paths;

	if (r < 0)
		return r;
	paths = malloc(len + 2);
	if (!paths)
		return error_set(err, ENOMEM, "cannot keep diff_paths");
	memcpy(paths, text, len);
	if (len && paths[len - 1] != '\n')
		paths[len++] = '\n';
	paths[len] = '\0';
	if (strspn(paths, "/\n") == len)
		paths[0] = '\0';
	free(sb->diff_paths);
	sb->diff_paths = paths;
	journal_facts(sb);
	return 0;
}

static int find_key(const char *given, size_t len)
{
	for (int key = 0; key <= CONFIG_DIFF_PATHS; key++) {
		const char *name = name_of((enum config_key)key);

		if (strlen(name) == len && memcmp(name, given, len) == 0)
			return key;
	}
	return -1;
}

static int check_resource(enum config_key key, const uint32_t sizes[RESOURCE_COUNT],
			  uint64_t number, struct error *err)
{
	enum resource which = (enum resource)(key - CONFIG_RESOURCES);

	return key < CONFIG_RESOURCES
		   ? 0
		   : resources_check(which, sizes[which], (uint32_t)number, err);
}

int config_default(struct config *config, const uint32_t sizes[RESOURCE_COUNT],
		   const char *given, struct error *err)
{
	const char *value = strchr(given, '=');
	int key = value ? find_key(given, (size_t)(value - given)) : -1, r;
	uint64_t number = 0;

	if (key < 0)
		return error_say(err, EINVAL,
				 "\"%.80s\" is not KEY=VALUE with a file of config/ as KEY",
				 given);
	value++;
	if (key == CONFIG_DIFF_PATHS) {
		config->diff_paths = value;
		return check_paths(value, strlen(value), err);
	}
	r = parse((enum config_key)key, value, &number, err);
	if (r == 0)
		r = check_resource((enum config_key)key, sizes, number, err);
	if (r == 0)
		config->number[key] = number;
	return r;
}

/* A template that was made of a sandbox has limits of its own, or a smaller machine. */
static void begin_resource(struct resources *r, enum resource which, uint64_t number)
{
	if (!r->limit[which] && (!r->size[which] || number < r->size[which]))
		r->limit[which] = (uint32_t)number;
}

int config_begin(struct sandbox *sb, struct error *err)
{
	const struct config *config = &sb->core->options.config;

	sb->exec_timeout_ms = config->number[CONFIG_EXEC_TIMEOUT];
	sb->limits.idle_ms = config->number[CONFIG_IDLE_TIMEOUT];
	sb->limits.life_ms = config->number[CONFIG_MAX_LIFETIME];
	sb->limits.persistent = config->number[CONFIG_PERSISTENT];
	for (int i = 0; i < RESOURCE_COUNT; i++)
		begin_resource(&sb->resources, (enum resource)i,
			       config->number[CONFIG_RESOURCES + i]);
	return config->diff_paths ? config_set_paths(sb, config->diff_paths,
						     strlen(config->diff_paths), err)
				  : 0;
}

int config_check_host(const struct core *core, struct error *err)
{
	return core->options.config.number[CONFIG_RESOURCES + RESOURCE_CPU_PERCENT]
		   ? resources_check_host(core, err)
		   : 0;
}
