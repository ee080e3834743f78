#include "pffs/core/usage.h"

#include <errno.h>
#include <stdlib.h>

struct asking {
	usage_fn *fn;
	void *ctx;
};

static uint64_t number_in(const json_t *reply, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(reply, key));

	return value > 0 ? (uint64_t)value : 0;
}

static void answered(void *ctx, json_t *reply, const struct error *err)
{
	struct asking *asking = ctx;
	const struct usage usage = {
	    .cpu_usec = number_in(reply, "cpu_usec"),
	    .memory_private = number_in(reply, "memory_private"),
	    .memory_shared = number_in(reply, "memory_shared"),
	    .disk_bytes = number_in(reply, "disk_bytes"),
	};

	asking->fn(asking->ctx, reply ? &usage : NULL, err);
	free(asking);
}

void usage_ask(struct sandbox *sb, usage_fn *fn, void *ctx)
{
	const struct usage none = {.disk_bytes = sb->stored_bytes};
	struct asking *asking;
	struct error err;

	if (!sb->vm) {
		fn(ctx, &none, NULL);
		return;
	}
	asking = malloc(sizeof(*asking));
	if (!asking) {
		error_set(&err, ENOMEM, "cannot ask vmctl");
		fn(ctx, NULL, &err);
		return;
	}
	*asking = (struct asking){.fn = fn, .ctx = ctx};
	vmm_request(&sb->core->vmm,
		    json_pack("{s:s, s:I}", "op", "stat", "vm", (json_int_t)sb->vm),
		    answered, asking);
}
