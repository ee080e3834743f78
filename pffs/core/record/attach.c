#include "pffs/core/record/attach.h"

#include "pffs/core/files/files.h"
#include "pffs/core/fork.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/record/record.h"
#include "pffs/core/template.h"
#include "pffs/core/twin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAKE_MS 60000u /* all wake at the same time */

struct attach {
	struct core *core;
	json_int_t after; /* the newest VM that was listed */
	json_t *found;	  /* numbers of VMs that sandboxes have */
	void (*done)(void *ctx, const struct error *err);
	void *ctx;
};

static void finish(struct attach *attach, const struct error *err)
{
	attach->done(attach->ctx, err);
	json_decref(attach->found);
	free(attach);
}

static struct sandbox *find_adrift(const struct core *core, uint32_t vm)
{
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sb->adrift && sb->vm == vm && vm)
			return sb;
	return NULL;
}

/* The frames that the guest may not have had, from the @sent'th byte of its stream on. */
static void send_again(struct sandbox *sb, uint64_t sent)
{
	struct agent_frame frame;
	uint64_t end;

	while (sb->unsure.len > sizeof(end)) {
		struct cursor c = cursor_over(buf_peek(&sb->unsure), sizeof(end));

		end = cursor_get_u64(&c);
		buf_consume(&sb->unsure, sizeof(end));
		if (agent_next(&sb->unsure, &frame, NULL) != 1)
			break;
		if (end > sent)
			buf_append(&sb->channel.out, buf_peek(&sb->unsure),
				   agent_frame_size(&frame));
		buf_consume(&sb->unsure, agent_frame_size(&frame));
	}
	buf_fini(&sb->unsure);
}

/* A fork point, or a template's machine: it is parked, or will be. */
static void stand_still(struct sandbox *sb)
{
	sb->adrift = false;
	if (sb->twin) {
		twin_attached(sb);
	} else {
		sb->state = SANDBOX_FROZEN;
		net_apply(sb);
		fork_next(sb);
	}
}

static void take_up(struct sandbox *sb, json_t *reply)
{
	uint64_t from = (uint64_t)json_integer_value(json_object_get(reply, "from"));
	uint64_t sent = (uint64_t)json_integer_value(json_object_get(reply, "sent"));

	sb->pid = (int)json_integer_value(json_object_get(reply, "pid"));
	if (sb->journal_fd >= 0) { /* it is this pffs's own, and has all that was said */
		buf_fini(&sb->channel.out);
		journal_unsure(sb);
	}
	if (from)
		buf_fini(&sb->in); /* the frame that it began was the first to come */
	vmm_resume(&sb->core->vmm, &sb->channel, sb->vm, sent, from);
	send_again(sb, sent);
	journal_attach(sb);
	vmm_flush(&sb->channel);
	sb->net.connected = json_is_true(json_object_get(reply, "connected"));
	if (sb->folder == FOLDER_HIDDEN) {
		stand_still(sb);
		return;
	}
	net_resumed(sb);
	/* Who was about to be a template, or to be frozen, may stand still. */
	vmm_ask(&sb->core->vmm, "resume", sb->vm, NULL, NULL);
	loop_timer_set(sb->core->loop, &sb->limit, WAKE_MS);
	resources_adrift(sb);
	guest_wake(sb);
}

static void next(struct attach *attach);

static void attached(void *ctx, json_t *reply, const struct error *err)
{
	struct attach *attach = ctx;
	uint32_t vm = (uint32_t)json_integer_value(json_array_get(attach->found, 0));
	struct sandbox *sb = find_adrift(attach->core, vm);

	json_array_remove(attach->found, 0);
	if (!vmm_connected(&attach->core->vmm)) {
		finish(attach, err);
		return;
	}
	if (sb && reply)
		take_up(sb, reply);
	else if (sb)
		sandbox_die(sb, err->text);
	next(attach);
}

/* One at a time, so that vmctl need not keep much of what comes again in its queue. */
static void next(struct attach *attach)
{
	json_int_t vm = json_integer_value(json_array_get(attach->found, 0));
	const struct sandbox *sb = find_adrift(attach->core, (uint32_t)vm);

	if (!json_array_size(attach->found)) {
		finish(attach, NULL);
		return;
	}
	vmm_request(&attach->core->vmm,
		    json_pack("{s:s, s:I, s:I}", "op", "attach", "vm", vm, "from",
			      (json_int_t)(sb ? sb->position : 0)),
		    attached, attach);
}

/* It was in the world before it had a machine. */
static void make_again(struct sandbox *sb)
{
	struct error err;
	struct sandbox *machine = template_machine(sb->core, sb->template, &err);

	sb->adrift = false;
	journal_begin(sb);
	if (!machine || fork_again(machine, sb, &err) < 0)
		sandbox_die(sb, err.text);
}

/* Its machine is not there. */
static void lose(struct sandbox *sb)
{
	sb->adrift = false;
	if (sb->stored_bytes) {
		sb->state = SANDBOX_STORED;
		sb->vm = 0;
		net_away(sb);
		journal_begin(sb);
	} else if (!sb->vm && !sb->epoch) {
		make_again(sb);
	} else {
		sb->vm = 0;
		journal_begin(sb);
		record_drop(sb->core, sb->id); /* a file that nobody was told of */
		sandbox_die(sb, "its machine ended while nobody watched it");
	}
}

/* A pffs that was killed may not have been able to tell vmctl that a sandbox has gone. */
static void tidy_files(void *ctx, json_t *reply, const struct error *err)
{
	struct core *core = ctx;
	const json_t *names = json_object_get(reply, "images"), *each;
	const char *group = json_string_value(json_object_get(reply, "group"));
	size_t i;

	(void)err;
	if (!group || strcmp(group, core->group) != 0)
		return; /* a vmctl that tells the names of all */
	json_array_foreach(names, i, each)
	{
		const char *id = json_string_value(each);

		if (id && !sandbox_of_id(core, id) && !record_has(core, id))
			record_drop(core, id);
	}
}

static void ask_for_files(struct core *core)
{
	vmm_request(&core->vmm,
		    json_pack("{s:s, s:s}", "op", "images", "group", core->group),
		    tidy_files, core);
}

static bool is_found(const struct attach *attach, uint32_t vm)
{
	for (size_t i = 0; i < json_array_size(attach->found); i++)
		if (json_integer_value(json_array_get(attach->found, i)) == vm)
			return true;
	return false;
}

/* The end of one may be that of others: forks that wait for it. */
static bool lose_next(struct attach *attach)
{
	struct sandbox *sb;

	list_for_each (sb, &attach->core->sandboxes, struct sandbox, link)
		if (sb->adrift && (!sb->vm || !is_found(attach, sb->vm))) {
			lose(sb);
			return true;
		}
	return false;
}

static void sort_out(struct attach *attach)
{
	struct sandbox *sb;

	while (lose_next(attach))
		;
	list_for_each (sb, &attach->core->sandboxes, struct sandbox, link) {
		if (!sb->adrift && sb->journal_fd < 0 && sb->state == SANDBOX_DEAD)
			journal_begin(sb);
		freeze_resume(sb); /* it has been waiting for vmctl */
		if (sb->state == SANDBOX_STORED)
			guest_resume(sb); /* a run may have been waiting for it */
	}
	ask_for_files(attach->core);
	next(attach);
}

/* Of two sandboxes with one machine a merge was under way: the one that lost it goes. */
static void drop_merged(struct attach *attach, const struct sandbox *keeper)
{
	struct sandbox *sb;

	list_for_each (sb, &attach->core->sandboxes, struct sandbox, link)
		if (sb != keeper && sb->adrift && sb->vm == keeper->vm) {
			sb->vm = 0;
			sandbox_destroy(sb);
			return;
		}
}

/* It was made since there is a link again. */
static bool is_new(const struct core *core, uint32_t vm)
{
	const struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (!sb->adrift && sb->vm == vm)
			return true;
	return false;
}

static void look_at(struct attach *attach, const json_t *vm)
{
	const char *group = json_string_value(json_object_get(vm, "group"));
	uint32_t id = (uint32_t)json_integer_value(json_object_get(vm, "vm"));
	const struct sandbox *sb = find_adrift(attach->core, id);

	attach->after = id;
	if (!group || strcmp(group, attach->core->group) != 0)
		return;
	if (!sb) {
		if (!attach->core->unread && !is_new(attach->core, id))
			sandbox_discard_vm(attach->core, id);
		return;
	}
	drop_merged(attach, sb);
	json_array_append_new(attach->found, json_integer(id));
}

static void ask(struct attach *attach);

static void listed(void *ctx, json_t *reply, const struct error *err)
{
	struct attach *attach = ctx;
	const json_t *vms = json_object_get(reply, "vms");

	if (!reply) {
		finish(attach, err);
		return;
	}
	for (size_t i = 0; i < json_array_size(vms); i++)
		look_at(attach, json_array_get(vms, i));
	if (json_is_true(json_object_get(reply, "more")))
		ask(attach);
	else
		sort_out(attach);
}

static void ask(struct attach *attach)
{
	vmm_request(&attach->core->vmm,
		    json_pack("{s:s, s:I}", "op", "list", "after", attach->after), listed,
		    attach);
}

void attach_begin(struct core *core, void (*done)(void *ctx, const struct error *err),
		  void *ctx)
{
	struct attach *attach = calloc(1, sizeof(*attach));
	struct error err;

	if (!attach) {
		error_say(&err, ENOMEM, "no memory to take up machines");
		done(ctx, &err);
		return;
	}
	*attach =
	    (struct attach){.core = core, .found = json_array(), .done = done, .ctx = ctx};
	ask(attach);
}

/* Of what goes on between two machines, or with vmctl, nobody knows how far it came. */
static bool is_at_work(const struct sandbox *sb)
{
	return sb->making || sb->birth || sb->merge || sb->merge_files || sb->hold ||
	       sb->freeze || sb->twin || !list_empty(&sb->forks);
}

static bool may_outlive(const struct sandbox *sb)
{
	return sb->journal_fd >= 0 && sb->folder != FOLDER_HIDDEN && !is_at_work(sb) &&
	       (sb->state == SANDBOX_READY || sb->adrift);
}

/* What came of the frame that is not whole comes again. The machine may have begun with a
 * part of one, which its parent had said. */
static void forget_half_frame(struct sandbox *sb)
{
	size_t prefix = sb->in.len > sb->channel.received
			    ? sb->in.len - (size_t)sb->channel.received
			    : 0;

	sb->position = journal_position(sb);
	if (!prefix)
		buf_fini(&sb->in);
	else
		sb->in.len = prefix;
}

void attach_lost(struct sandbox *sb, const char *reason)
{
	if (!may_outlive(sb)) {
		vmm_detach(&sb->channel);
		sandbox_die(sb, reason);
		return;
	}
	forget_half_frame(sb);
	sb->channel.sent = vmm_position(&sb->channel);
	vmm_detach(&sb->channel);
	loop_timer_cancel(&sb->limit);
	sb->state = SANDBOX_STARTING;
	sb->adrift = true;
	net_away(sb);
	files_end(sb);
}

static struct sandbox *first_adrift(const struct core *core)
{
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sb->adrift)
			return sb;
	return NULL;
}

void attach_give_up(struct core *core, const char *reason)
{
	struct sandbox *sb;

	while ((sb = first_adrift(core))) {
		sb->adrift = false;
		sandbox_die(sb, reason);
	}
}

bool attach_awake(struct sandbox *sb)
{
	if (!sb->adrift)
		return false;
	sb->adrift = false;
	if (sb->stored_bytes) {
		record_drop(sb->core, sb->id);
		sb->stored_bytes = 0;
		journal_facts(sb);
	}
	sandbox_event(sb, "attached", NULL);
	guest_go_on(sb);
	return true;
}
