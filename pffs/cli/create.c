/*
 * pffs create: a sandbox that stays.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"

#include <errno.h>
#include <string.h>

static const char help[] =
    "usage: pffs create [OPTION...] [NAME]\n"
    "\n"
    "Makes a sandbox, and prints its name, which is a new one when none is given. It "
    "stays\n"
    "until `pffs rm`, or what --config says.\n"
    "\n"
    "      --template NAME     what it is made of\n"
    "      --config KEY=VALUE  exec_timeout, idle_timeout, max_lifetime: seconds;\n"
    "                          persistent: on or off; memory_mib, vcpus, disk_mib, pids,\n"
    "                          cpu_percent: numbers. Can be given for each KEY\n"
    "      --json              what POST /v1/sandboxes answers\n"
    "      --api PATH          socket of the pffs that is asked (PFFS_API; else the only "
    "one)\n";

enum kind { SECONDS, SWITCH, NUMBER };

static const struct key {
	const char *name, *field;
	enum kind kind;
} keys[] = {
    {"exec_timeout", "exec_timeout_seconds", SECONDS},
    {"idle_timeout", "idle_timeout_seconds", SECONDS},
    {"max_lifetime", "max_lifetime_seconds", SECONDS},
    {"persistent", "persistent", SWITCH},
    {"memory_mib", "memory_mib", NUMBER},
    {"vcpus", "vcpus", NUMBER},
    {"disk_mib", "disk_mib", NUMBER},
    {"pids", "pids", NUMBER},
    {"cpu_percent", "cpu_percent", NUMBER},
};

static json_t *seconds_of(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	return end == text || *end ? NULL : json_real(seconds);
}

static json_t *switch_of(const char *text)
{
	if (strcmp(text, "on") == 0)
		return json_true();
	return strcmp(text, "off") == 0 ? json_false() : NULL;
}

static json_t *number_of(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits && digits < 10 && !text[digits]
		   ? json_integer(strtoll(text, NULL, 10))
		   : NULL;
}

static json_t *value_of(enum kind kind, const char *text)
{
	switch (kind) {
	case SECONDS:
		return seconds_of(text);
	case SWITCH:
		return switch_of(text);
	default:
		return number_of(text);
	}
}

/* KEY=VALUE, as config/ of a sandbox has them. */
static int take_config(json_t *body, const char *given)
{
	size_t len = strcspn(given, "=");
	json_t *value = NULL;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && given[len]; i++) {
		if (strncmp(given, keys[i].name, len) != 0 || keys[i].name[len])
			continue;
		value = value_of(keys[i].kind, given + len + 1);
		if (value)
			return json_object_set_new(body, keys[i].field, value);
	}
	return -EINVAL;
}

static int take(void *ctx, int option, const char *value)
{
	json_t *body = ctx;

	if (option == 'c')
		return take_config(body, value);
	return json_object_set_new(body, "template", json_string(value));
}

static const char *path_of(const json_t *sandbox)
{
	const char *path = json_string_value(json_object_get(sandbox, "path"));

	return path ? path : "";
}

static void make(struct command *c, json_t *body)
{
	json_t *answer = NULL;

	if (c->count)
		json_object_set_new(body, "name", json_string(c->operands[0]));
	if (command_ask(c, "POST", body, &answer, "/v1/sandboxes") == 0) {
		if (c->json)
			command_print_json(c, answer);
		else
			printf("%s\n", path_of(answer));
		command_flush(c);
	}
	json_decref(answer);
}

int cmd_create(int argc, char **argv)
{
	static const struct option options[] = {{"template", required_argument, NULL, 't'},
						{"config", required_argument, NULL, 'c'},
						{0}};
	json_t *body = json_object();
	struct command c = {
	    .help = help, .options = options, .take = take, .ctx = body, .most = 1};
	struct error err;

	if (command_parse(&c, argc, argv)) {
		c.client = client_open(c.api, NULL, &err);
		if (c.client)
			make(&c, body);
		else
			command_fail(&c, &err);
	}
	json_decref(body);
	command_end(&c);
	return c.status;
}
