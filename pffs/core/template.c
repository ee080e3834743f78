#include "pffs/core/template.h"

#include "pffs/core/files/files.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void parked(void *ctx, json_t *reply, const struct error *err)
{
	struct sandbox *machine = ctx;

	if (machine->state == SANDBOX_STARTING && reply) {
		machine->state = SANDBOX_FROZEN;
		loop_timer_cancel(&machine->limit);
		net_apply(machine);
		fork_next(machine);
	} else if (machine->state == SANDBOX_STARTING) {
		sandbox_die(machine, err->text);
	}
	sandbox_unref(machine);
}

static void park(struct sandbox *sb, vmm_reply_fn *done, void *ctx)
{
	vmm_ask(&sb->core->vmm, "park", sb->vm, done, ctx);
}

void template_booted(struct sandbox *machine)
{
	machine->booting = false;
	park(machine, parked, sandbox_ref(machine));
}

static void created(void *ctx, json_t *reply, const struct error *err)
{
	struct sandbox *machine = ctx;
	json_int_t vm = json_integer_value(json_object_get(reply, "vm"));
	int pid = (int)json_integer_value(json_object_get(reply, "pid"));

	if (vm && machine->state == SANDBOX_DEAD)
		sandbox_discard_vm(machine->core, (uint32_t)vm);
	else if (vm)
		sandbox_adopt_vm(machine, (uint32_t)vm, pid,
				 machine->core->options.ready_limit_ms);
	else if (machine->state != SANDBOX_DEAD)
		sandbox_die(machine, err ? err->text : "vmctl sent a reply without a VM");
	sandbox_unref(machine);
}

static struct sandbox *boot(struct core *core, size_t index, struct error *err)
{
	const char *name = core->templates.list[index].name;
	struct sandbox *machine;

	if (!vmm_connected(&core->vmm)) {
		error_say(err, EIO, "vmctl cannot be reached: see the log of pffs");
		return NULL;
	}
	machine = sandbox_new(core, FOLDER_HIDDEN, name, index, 0, 0, err);
	if (!machine)
		return NULL;
	templates_image_changed(&core->templates, index); /* not after this one */
	machine->booting = true;
	machine->image = core->templates.list[index].image;
	vmm_request(&core->vmm,
		    json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i}", "op", "create", "name",
			      name, "template", name, "group", core->group, "memory_mib",
			      (int)core->options.memory_mib, "vcpus",
			      (int)core->options.vcpus, "disk_mib",
			      (int)core->options.disk_mib),
		    created, sandbox_ref(machine));
	return machine;
}

/* What cannot be forked any more goes. Return: whether there is a machine left. */
static bool keep_machine(struct templates *t, size_t index)
{
	struct template *template = &t->list[index];
	struct sandbox *machine = template->machine;
	bool stale = machine && list_empty(&machine->forks) && !template->made &&
		     templates_image_changed(t, index);

	if (machine && !template->made && (machine->state == SANDBOX_DEAD || stale)) {
		sandbox_destroy(machine);
		template->machine = NULL;
	}
	return template->machine && template->machine->state != SANDBOX_DEAD;
}

struct sandbox *template_machine(struct core *core, size_t index, struct error *err)
{
	struct templates *t = &core->templates;

	if (!templates_has(t, index)) {
		error_say(err, ENOENT,
			  "there is no such template: guest/images/build makes the default "
			  "one");
		return NULL;
	}
	if (keep_machine(t, index))
		return t->list[index].machine;
	if (t->list[index].made) {
		error_say(err, EIO, "the machine of template %s has died: make it again",
			  t->list[index].name);
		return NULL;
	}
	t->list[index].machine = boot(core, index, err);
	return t->list[index].machine;
}

int template_fork(struct core *core, size_t index, struct fork_order *order,
		  fork_done_fn *done, void *ctx, struct error *err)
{
	struct sandbox *machine = template_machine(core, index, err);

	if (!machine)
		return err->code;
	order->early |= machine->state == SANDBOX_STARTING;
	return fork_begin(machine, order, done, ctx, err);
}

static void drop(struct core *core, size_t index)
{
	struct template *template = &core->templates.list[index];

	templates_remove(&core->templates, index);
	if (template->machine)
		sandbox_destroy(template->machine);
	template->machine = NULL;
}

/* Let go of a template whose image went, unless something is made of it now. */
static void drop_unless_there(struct core *core, size_t index)
{
	const struct sandbox *machine = core->templates.list[index].machine;

	if (templates_image_gone(&core->templates, index) &&
	    (!machine || list_empty(&machine->forks)) &&
	    !sandbox_in_folder(core, FOLDER_TEMPLATE(index)))
		drop(core, index);
}

void template_look(struct core *core)
{
	templates_scan(&core->templates);
	for (size_t i = 0; i < core->templates.count; i++)
		if (templates_has(&core->templates, i))
			drop_unless_there(core, i);
}

int template_find(struct core *core, const char *name)
{
	int index = templates_find(&core->templates, name);

	if (index >= 0)
		drop_unless_there(core, (size_t)index);
	return index >= 0 && templates_has(&core->templates, (size_t)index) ? index : -1;
}

/* Nobody sees the machine, so the event says of which template it is. */
void template_failed(struct sandbox *sb, const char *reason)
{
	const struct template *template = &sb->core->templates.list[sb->template];

	if (template->machine != sb || template->made || sb->state != SANDBOX_FROZEN)
		return;
	events_add(&sb->core->events, sb->serial, ++sb->event_count,
		   json_pack("{s:s, s:s, s:s}", "event", "template_failed", "template",
			     template->name, "reason", reason));
	sandbox_die(sb, reason);
}

struct freezing {
	struct sandbox *sb; /* reference */
	char name[TEMPLATE_NAME_MAX + 1];
	template_done_fn *done;
	void *ctx;
};

/* It has no records of its own any more, and nobody sees it. */
static int hide(struct sandbox *sb, const char *name, struct error *err)
{
	struct templates *t = &sb->core->templates;
	int index = templates_add(t, name);

	if (index < 0)
		return error_set(err, -index, "cannot make a template");
	t->list[index].machine = sb;
	t->list[index].made = true;
	snprintf(t->list[index].made_of, sizeof(t->list[index].made_of), "%s", sb->id);
	clock_gettime(CLOCK_REALTIME, &t->list[index].created);
	sandbox_event(sb, "frozen", json_pack("{s:s}", "template", name));
	sandbox_hide(sb);
	sb->template = (size_t)index;
	strcpy(sb->name, name);
	journal_begin(sb); /* in place of the sandbox's */
	return 0;
}

int template_restore(struct core *core, const char *name, struct error *err)
{
	int index = templates_find(&core->templates, name);

	if (index >= 0) /* an image has come of that name, which is taken */
		templates_remove(&core->templates, (size_t)index);
	index = templates_add(&core->templates, name);
	return index < 0 ? error_set(err, -index, "cannot restore a template") : index;
}

void template_restored(struct sandbox *machine, const char *made_of,
		       const struct timespec *created)
{
	struct template *template = &machine->core->templates.list[machine->template];

	template->machine = machine;
	template->made = true;
	template->created = *created;
	snprintf(template->made_of, sizeof(template->made_of), "%s", made_of);
	limits_end(machine);
}

static void go_on(struct sandbox *sb)
{
	vmm_ask(&sb->core->vmm, "resume", sb->vm, NULL, NULL);
	sb->state = SANDBOX_READY;
	journal_facts(sb);
	guest_resume(sb);
	fork_next(sb);
}

/* It may have been used, removed or killed meanwhile. */
static int finish(struct sandbox *sb, const char *name, const struct error *failed,
		  struct error *err)
{
	int r = failed ? (*err = *failed, err->code) : 0;

	if (sb->state != SANDBOX_FROZEN)
		return error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
	if (!r && (sandbox_is_busy(sb) || files_busy(sb) || terminals_watched(sb)))
		r = error_say(err, EBUSY, "%s was used meanwhile", sb->name);
	if (!r && template_find(sb->core, name) >= 0)
		r = error_say(err, EEXIST, "there is a template %s by now", name);
	if (!r)
		r = hide(sb, name, err);
	if (r)
		go_on(sb);
	return r;
}

static void frozen(void *ctx, json_t *reply, const struct error *failed)
{
	struct freezing *freezing = ctx;
	struct error err;
	int r = finish(freezing->sb, freezing->name, reply ? NULL : failed, &err);

	freezing->done(freezing->ctx, r < 0 ? &err : NULL);
	sandbox_unref(freezing->sb);
	free(freezing);
}

static int check_freeze(struct sandbox *sb, const char *name, struct error *err)
{
	if (!core_name_ok(name))
		return error_say(
		    err, EINVAL,
		    "a template's name is 1 to 64 of A-Z a-z 0-9 . _ - and does "
		    "not start with a dot");
	if (template_find(sb->core, name) >= 0)
		return error_say(err, EEXIST, "there is a template %s already", name);
	if (sb->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
	if (sb->state != SANDBOX_READY)
		return error_say(err, EBUSY, "%s is %s", sb->name, sandbox_state_name(sb));
	if (sb->freeze)
		return error_say(err, EBUSY, "%s is being frozen", sb->name);
	if (sandbox_is_busy(sb))
		return error_say(
		    err, EBUSY,
		    "%s has runs that have not ended, or forks: wait for the runs, "
		    "or kill them, and move the forks away",
		    sb->name);
	if (files_busy(sb))
		return error_say(err, EBUSY, "files of %s are being used: try again",
				 sb->name);
	if (terminals_watched(sb))
		return error_say(err, EBUSY, "a terminal of %s is open: leave it first",
				 sb->name);
	return 0;
}

int template_freeze(struct sandbox *sb, const char *name, template_done_fn *done, void *ctx,
		    struct error *err)
{
	struct freezing *freezing;
	int r = check_freeze(sb, name, err);

	if (r < 0)
		return r;
	freezing = malloc(sizeof(*freezing));
	if (!freezing)
		return error_set(err, ENOMEM, "cannot make a template");
	*freezing = (struct freezing){.sb = sandbox_ref(sb), .done = done, .ctx = ctx};
	strcpy(freezing->name, name);
	sb->state = SANDBOX_FROZEN;
	journal_facts(sb);
	park(sb, frozen, freezing);
	return 0;
}

int template_remove(struct core *core, size_t index, struct error *err)
{
	struct template *template = &core->templates.list[index];

	if (!template->made)
		return error_say(err, EPERM,
				 "%s is an image: remove its files from the images "
				 "directory to be rid of it",
				 template->name);
	if (sandbox_in_folder(core, FOLDER_TEMPLATE(index)))
		return error_say(err, EBUSY, "%s has forks: remove or move them first",
				 template->name);
	drop(core, index);
	return 0;
}
