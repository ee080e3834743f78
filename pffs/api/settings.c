#include "pffs/api/settings.h"

#include "pffs/core/config.h"
#include "pffs/core/sandbox.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A field that is given twice, by both of its names: the last one here counts. */
static const struct setting {
	const char *name;
	enum config_key key;
	unsigned factor; /* of what config/ counts in */
} settings[] = {
    {"exec_timeout_seconds", CONFIG_EXEC_TIMEOUT, 1},
    {"idle_timeout_seconds", CONFIG_IDLE_TIMEOUT, 1},
    {"timeout_seconds", CONFIG_MAX_LIFETIME, 1},
    {"max_lifetime_seconds", CONFIG_MAX_LIFETIME, 1},
    {"persistent", CONFIG_PERSISTENT, 1},
    {"ram_mib", CONFIG_RESOURCES + RESOURCE_MEMORY_MIB, 1},
    {"memory_mib", CONFIG_RESOURCES + RESOURCE_MEMORY_MIB, 1},
    {"vcpus", CONFIG_RESOURCES + RESOURCE_VCPUS, 1},
    {"rootfs_gb", CONFIG_RESOURCES + RESOURCE_DISK_MIB, 1024},
    {"disk_mib", CONFIG_RESOURCES + RESOURCE_DISK_MIB, 1},
    {"pids", CONFIG_RESOURCES + RESOURCE_PIDS, 1},
    {"cpu_percent", CONFIG_RESOURCES + RESOURCE_CPU_PERCENT, 1},
};

#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static const json_t *value_of(const struct request *r, const struct setting *setting)
{
	const json_t *value = json_object_get(r->body, setting->name);

	return json_is_null(value) ? NULL : value;
}

static int check(const struct setting *setting, const json_t *value, struct error *err)
{
	if (setting->key == CONFIG_PERSISTENT) {
		if (!json_is_boolean(value))
			return error_say(err, EINVAL, "%s is to be true or false",
					 setting->name);
	} else if (setting->key < CONFIG_RESOURCES) {
		if (!json_is_number(value) || json_number_value(value) < 0 ||
		    json_number_value(value) > LIMIT_MAX_S)
			return error_say(err, EINVAL,
					 "%s is to be a number of seconds, 0 for none",
					 setting->name);
	} else if (!json_is_integer(value) || json_integer_value(value) < 0 ||
		   json_integer_value(value) > 999999999) {
		return error_say(err, EINVAL, "%s is to be a whole number, 0 for no limit",
				 setting->name);
	}
	return 0;
}

/* Podflare's clients know true and false. Return: NULL where it is not set. */
static const char *egress_of(const struct request *r)
{
	const json_t *egress = json_object_get(r->body, "egress");

	if (!egress || json_is_null(egress))
		return NULL;
	if (json_is_boolean(egress))
		return json_is_true(egress) ? "on" : "off";
	return json_is_string(egress) ? json_string_value(egress) : "";
}

int settings_check(const struct request *r, struct error *err)
{
	enum policy_egress ignored;
	const char *egress = egress_of(r);
	int result = egress ? policy_egress_parse(egress, &ignored, err) : 0;

	for (size_t i = 0; i < SETTINGS && result == 0; i++) {
		const json_t *value = value_of(r, &settings[i]);

		if (value)
			result = check(&settings[i], value, err);
	}
	return result;
}

static int apply(struct sandbox *sb, const struct setting *setting, const json_t *value,
		 struct error *err)
{
	char text[32];

	if (setting->key == CONFIG_PERSISTENT) {
		snprintf(text, sizeof(text), json_is_true(value) ? "on" : "off");
	} else if (setting->key < CONFIG_RESOURCES) {
		double seconds = json_number_value(value);

		/* However short, it is not what 0 means. */
		if (seconds > 0 && seconds < 0.001)
			seconds = 0.001;
		snprintf(text, sizeof(text), "%.3f", seconds);
	} else {
		uint64_t number = (uint64_t)json_integer_value(value) * setting->factor;
		uint32_t size = sb->resources.size[setting->key - CONFIG_RESOURCES];

		/* A machine is as large as it is; to want more is no error. */
		if (size && number > size)
			number = size;
		snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	}
	return config_set(sb, setting->key, text, err);
}

int settings_apply(const struct request *r, struct sandbox *sb, struct error *err)
{
	const char *egress = egress_of(r);
	int result = egress ? net_set_egress(sb, egress, err) : 0;

	for (size_t i = 0; i < SETTINGS && result == 0; i++) {
		const json_t *value = value_of(r, &settings[i]);

		if (value)
			result = apply(sb, &settings[i], value, err);
	}
	return result;
}
