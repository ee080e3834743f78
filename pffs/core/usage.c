#include "pffs/core/usage.h"

#include "util/io.h"

#include <errno.h>
#include <stdlib.h>

struct asker {
	struct link link;
	usage_fn *fn;
	void *ctx;
};

/* Invariant: while @asked it has a reference of its sandbox; else nobody waits. */
struct usage_state {
	struct sandbox *sb;
	struct usage known;
	uint64_t known_ns; /* when it was told, CLOCK_MONOTONIC; 0: never */
	bool asked;
	bool overdue; /* patience has ended, and no answer has come since */
	struct link askers;
	struct loop_timer patience;
};

static void tell(struct usage_state *state, const struct usage *usage,
		 const struct error *err)
{
	loop_timer_cancel(&state->patience);
	while (!list_empty(&state->askers)) {
		struct asker *asker = container_of(state->askers.next, struct asker, link);

		list_del(&asker->link);
		asker->fn(asker->ctx, usage, err);
		free(asker);
	}
}

static void tell_known(struct usage_state *state)
{
	struct error err;

	error_say(&err, ETIMEDOUT, "the machine of %s does not say what it uses",
		  state->sb->name);
	tell(state, state->known_ns ? &state->known : NULL, &err);
}

static void patience_ends(struct loop_timer *timer)
{
	struct usage_state *state = container_of(timer, struct usage_state, patience);

	state->overdue = true;
	tell_known(state);
}

static struct usage_state *state_of(struct sandbox *sb)
{
	struct usage_state *state = sb->usage;

	if (state)
		return state;
	state = calloc(1, sizeof(*state));
	if (!state)
		return NULL;
	state->sb = sb;
	list_init(&state->askers);
	loop_timer_init(&state->patience, patience_ends);
	sb->usage = state;
	return state;
}

static uint64_t number_in(const json_t *reply, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(reply, key));

	return value > 0 ? (uint64_t)value : 0;
}

static void answered(void *ctx, json_t *reply, const struct error *err)
{
	struct usage_state *state = ctx;
	struct sandbox *sb = state->sb;

	state->asked = state->overdue = false;
	if (reply) {
		state->known = (struct usage){
		    .cpu_usec = number_in(reply, "cpu_usec"),
		    .memory_private = number_in(reply, "memory_private"),
		    .memory_shared = number_in(reply, "memory_shared"),
		    .disk_bytes = number_in(reply, "disk_bytes"),
		};
		state->known_ns = io_monotonic_ns();
	}
	tell(state, reply ? &state->known : NULL, err);
	sandbox_unref(sb);
}

static bool is_fresh(const struct usage_state *state)
{
	return state->known_ns &&
	       io_monotonic_ns() - state->known_ns < (uint64_t)USAGE_FRESH_MS * 1000000u;
}

static void ask(struct usage_state *state)
{
	struct sandbox *sb = sandbox_ref(state->sb);

	state->asked = true;
	loop_timer_set(sb->core->loop, &state->patience, USAGE_PATIENCE_MS);
	vmm_ask(&sb->core->vmm, "stat", sb->vm, answered, state);
}

static struct usage without_machine(const struct sandbox *sb)
{
	return (struct usage){.disk_bytes = sb->stored_bytes};
}

void usage_ask(struct sandbox *sb, usage_fn *fn, void *ctx)
{
	const struct usage none = without_machine(sb);
	struct usage_state *state = state_of(sb);
	struct asker *asker;
	struct error err;

	if (!sb->vm || (state && is_fresh(state))) {
		fn(ctx, sb->vm ? &state->known : &none, NULL);
		return;
	}
	asker = state ? malloc(sizeof(*asker)) : NULL;
	if (!asker) {
		error_set(&err, ENOMEM, "cannot ask vmctl");
		fn(ctx, NULL, &err);
		return;
	}
	*asker = (struct asker){.fn = fn, .ctx = ctx};
	list_add_before(&state->askers, &asker->link);
	if (state->overdue)
		tell_known(state);
	else if (!state->asked)
		ask(state);
}

bool usage_known(const struct sandbox *sb, struct usage *usage)
{
	bool told = sb->usage && sb->usage->known_ns;

	if (!sb->vm)
		*usage = without_machine(sb);
	else if (told)
		*usage = sb->usage->known;
	return !sb->vm || told;
}

void usage_free(struct sandbox *sb)
{
	if (sb->usage)
		loop_timer_cancel(&sb->usage->patience);
	free(sb->usage);
	sb->usage = NULL;
}
