#include "pffs/core/core.h"

#include "pffs/core/diff/view.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/record/attach.h"
#include "pffs/core/record/record.h"
#include "pffs/core/template.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void broken(struct vmm *vmm, const char *reason)
{
	struct core *core = container_of(vmm, struct core, vmm);

	core->engine[0] = '\0';
	core->link_lost(core, reason);
}

static void uplink_changed(struct vmm *vmm, const json_t *event)
{
	net_host_heard(container_of(vmm, struct core, vmm), event);
}

static void ignore_loss(struct core *core, const char *reason)
{
	error_say(&core->error, EIO, "%s", reason);
}

int core_init(struct core *core, struct loop *loop, const struct core_options *options,
	      struct error *err)
{
	int r;

	*core = (struct core){
	    .loop = loop,
	    .options = *options,
	    .next_serial = 1,
	    .started_ns = io_monotonic_ns(),
	    .link_lost = ignore_loss,
	};
	list_init(&core->sandboxes);
	list_init(&core->views);
	list_init(&core->listings);
	list_init(&core->mounts);
	events_init(&core->events);
	binder_init(&core->binder, loop, ports_mount_gone);
	caps_init(core);
	vmm_init(&core->vmm, loop, broken, uplink_changed);
	record_open(core);
	r = net_host_init(core, err);
	if (r == 0)
		r = templates_init(&core->templates, options->images, err);
	if (r == 0)
		record_load(core);
	return r;
}

void core_end(struct core *core)
{
	/* Ending one may end others with it: its forks that are being made. */
	views_fini(core);
	core->ending++;
	while (!list_empty(&core->sandboxes))
		sandbox_destroy(container_of(core->sandboxes.next, struct sandbox, link));
	loop_timer_cancel(&core->room);
	binder_stop(&core->binder);
	vmm_close(&core->vmm);
	record_close(core);
}

void core_fini(struct core *core)
{
	core_end(core);
	net_host_fini(core);
	events_fini(&core->events);
	templates_fini(&core->templates);
}

struct greeting {
	struct core *core;
	void (*ready)(void *ctx, const struct error *err);
	void *ctx;
};

/* The template that a plain mkdir forks boots ahead of the first one. */
static void warm_up(struct core *core)
{
	struct error ignored; /* mkdir runs into the same one, and says it */

	if (templates_has(&core->templates, core->templates.fallback))
		template_machine(core, core->templates.fallback, &ignored);
}

static void taken_up(void *ctx, const struct error *err)
{
	struct greeting *greeting = ctx;

	if (!err)
		warm_up(greeting->core);
	greeting->ready(greeting->ctx, err);
	free(greeting);
}

static void greeted(void *ctx, json_t *reply, const struct error *err)
{
	struct greeting *greeting = ctx;
	struct core *core = greeting->core;
	const char *engine = "kvm";
	int limits_cpu = 0;

	if (reply)
		json_unpack(reply, "{s?s, s?b}", "engine", &engine, "limits_cpu",
			    &limits_cpu);
	core->limits_cpu = limits_cpu;
	net_host_heard(core, reply);
	snprintf(core->engine, sizeof(core->engine), "%s", engine);
	if (reply && core->group[0])
		attach_begin(core, taken_up, greeting);
	else
		taken_up(greeting, reply ? NULL : err);
}

int core_connect(struct core *core, int fd,
		 void (*ready)(void *ctx, const struct error *err), void *ctx,
		 struct error *err)
{
	struct greeting *greeting = malloc(sizeof(*greeting));
	int r;

	if (!greeting) {
		close(fd);
		return error_set(err, ENOMEM, "cannot greet vmctl");
	}
	*greeting = (struct greeting){.core = core, .ready = ready, .ctx = ctx};
	r = vmm_connect(&core->vmm, fd, err);
	if (r < 0) {
		free(greeting);
		return r;
	}
	net_host_greet(core);
	vmm_request(&core->vmm, json_pack("{s:s}", "op", "stat"), greeted, greeting);
	return 0;
}

bool core_name_ok(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= SANDBOX_NAME_MAX && name[0] != '.' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789._-") == len;
}
