/*
 * For tests: sandboxes that are forked, by a vmctl and guests that the test plays.
 */
#pragma once

#include "tests/unit/world.h"

#include "pffs/core/guest/guest.h"
#include "pffs/core/template.h"

#define PARENT	   5u
#define FIRST_TWIN 100u /* VM of a fork point */

static unsigned twins; /* that vmctl made */

/* What a fork's end was told with. */
static struct {
	int count, code;
	const struct sandbox *first;
} told;

static void remember(void *ctx, struct sandbox *const *children, const struct error *err)
{
	(void)ctx;
	told.count++;
	told.code = err ? err->code : 0;
	told.first = children[0];
}

static struct fork *ordered; /* the newest */

static int order(struct sandbox *parent, const char *const *names, size_t count)
{
	const struct fork_order order = {.folder = FOLDER_FORKS(parent->serial),
					 .names = names,
					 .count = count,
					 .handle = &ordered};
	struct error err;

	told.count = 0;
	return fork_begin(parent, &order, remember, &told, &err);
}

__attribute__((unused)) static struct sandbox *child(const struct sandbox *parent,
						     const char *name)
{
	return sandbox_find(&core, FOLDER_FORKS(parent->serial), name);
}

/* Answer the newest request by VMs @first, @first + 1, ... and the twin it asks for. */
static void answer_vms(unsigned first, unsigned count)
{
	json_t *vms = json_array(), *reply;
	char *text;

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(
		    vms, json_pack("{s:i, s:i}", "vm", (int)(first + i), "pid", 1));
	reply = json_pack("{s:O, s:o, s:i}", "seq", json_object_get(asked, "seq"), "vms",
			  vms, "pause_usec", 250);
	if (json_object_get(asked, "twin"))
		json_object_set_new(
		    reply, "twin",
		    json_pack("{s:i, s:i}", "vm", (int)(FIRST_TWIN + twins++), "pid", 1));
	text = json_dumps(reply, 0);
	send_control(text);
	free(text);
	json_decref(reply);
}

__attribute__((unused)) static void answer_error(int code)
{
	char text[96];

	snprintf(text, sizeof(text), "{\"seq\":%d,\"error\":\"no\",\"errno\":%d}",
		 (int)json_integer_value(json_object_get(asked, "seq")), code);
	send_control(text);
}

static void awake(unsigned vm, uint16_t of_epoch)
{
	epoch = of_epoch;
	say(vm, 0, AGENT_AWAKE, NULL, 0);
	epoch = 1;
}

__attribute__((unused)) static struct sandbox *make_parent(void)
{
	static const char *const names[] = {"demo"};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};

	template_fork(&core, 0, &order, remember, NULL, NULL);
	is_int(told.count, 1, "of a template that boots, a sandbox is there at once");
	boot_template();
	answer_vms(PARENT, 1);
	awake(PARENT, 1);
	is_str(sandbox_state_name(told.first), "ready",
	       "and ready when it has been forked");
	is_int(told.count, 1, "which is told once");
	return sandbox_find(&core, FOLDER_ROOT, "demo");
}
