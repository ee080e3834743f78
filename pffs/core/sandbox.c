#include "pffs/core/sandbox.h"

#include "pffs/core/diff/lineage.h"
#include "pffs/core/files/files.h"
#include "pffs/core/fork.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/merge/hold.h"
#include "pffs/core/merge/merge.h"
#include "pffs/core/net/connection.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/record/attach.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/terminal.h"
#include "pffs/core/twin.h"
#include "pffs/core/usage.h"
#include "pffs/core/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static struct sandbox *find_name(const struct core *core, folder_t folder, const char *name)
{
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sb->folder == folder && strcmp(sb->name, name) == 0)
			return sb;
	return NULL;
}

struct sandbox *sandbox_find(struct core *core, folder_t folder, const char *name)
{
	struct sandbox *sb = find_name(core, folder, name);

	return sb && !sb->making ? sb : NULL;
}

struct sandbox *sandbox_by_serial(struct core *core, uint64_t serial)
{
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sb->serial == serial)
			return sb;
	return NULL;
}

bool sandbox_is_shown(const struct sandbox *sb)
{
	return !sb->making && sb->folder != FOLDER_HIDDEN;
}

bool sandbox_is_known(const struct sandbox *sb)
{
	const struct template *template = &sb->core->templates.list[sb->template];

	return sb->folder != FOLDER_HIDDEN || sb->twin ||
	       (template->made && template->machine == sb);
}

struct sandbox *sandbox_of_id(struct core *core, const char *id)
{
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (strcmp(sb->id, id) == 0)
			return sb;
	return NULL;
}

struct sandbox *sandbox_by_id(struct core *core, const char *id)
{
	struct sandbox *sb = sandbox_of_id(core, id);

	return sb && sandbox_is_shown(sb) ? sb : NULL;
}

struct sandbox *sandbox_of_folder(struct core *core, folder_t folder)
{
	if (folder >> 62 != FOLDER_FORKS(0) >> 62)
		return NULL;
	return sandbox_by_serial(core, folder & ~FOLDER_FORKS(0));
}

struct sandbox *sandbox_ref(struct sandbox *sb)
{
	sb->refs++;
	return sb;
}

void sandbox_unref(struct sandbox *sb)
{
	if (!sb || --sb->refs)
		return;
	files_free(sb);
	net_fini(sb);
	usage_free(sb);
	feed_unref(sb->next_feed);
	if (sb->ahead)
		guest_stdin_settled(sb->ahead);
	free(sb->merge_report);
	free(sb->diff_paths);
	lineage_unref(sb->lineage);
	buf_fini(&sb->unsure);
	free(sb);
}

int sandbox_fail(struct sandbox *sb, const struct error *err)
{
	sb->error = *err;
	clock_gettime(CLOCK_REALTIME, &sb->changed);
	return err->code;
}

void sandbox_event(struct sandbox *sb, const char *event, json_t *fields)
{
	json_t *all;

	if (sb->making || sb->folder == FOLDER_HIDDEN) {
		json_decref(fields);
		return;
	}
	all =
	    json_pack("{s:s, s:s, s:s}", "event", event, "sandbox", sb->name, "id", sb->id);
	if (fields)
		json_object_update(all, fields);
	json_decref(fields);
	events_add(&sb->core->events, sb->serial, ++sb->event_count, all);
}

const char *sandbox_state_name(const struct sandbox *sb)
{
	if (sb->state == SANDBOX_DEAD)
		return "dead";
	if (sb->state == SANDBOX_STARTING)
		return "starting";
	if (sb->state == SANDBOX_FROZEN)
		return "frozen";
	if (sb->state == SANDBOX_STORED && !freeze_settles(sb))
		return "frozen";
	return sb->current ? "running" : "ready";
}

struct run *sandbox_newest(const struct sandbox *sb)
{
	return list_empty(&sb->runs) ? NULL : container_of(sb->runs.prev, struct run, link);
}

struct run *sandbox_run(const struct sandbox *sb, uint32_t number)
{
	struct run *run;

	list_for_each (run, &sb->runs, struct run, link)
		if (run->number == number)
			return run;
	return NULL;
}

/* The sandbox's own reference of a run goes. */
static void let_go(struct sandbox *sb, struct run *run)
{
	run_lose_changes(run);
	list_del(&run->link);
	run->sandbox = NULL;
	sb->run_count--;
	run_unref(run);
}

static void forget_old_runs(struct sandbox *sb)
{
	struct run *run;

	list_for_each (run, &sb->runs, struct run, link) {
		if (sb->run_count < SANDBOX_RUNS_KEPT)
			return;
		if (run->state == RUN_ENDED)
			let_go(sb, run);
	}
}

void sandbox_add_run(struct sandbox *sb, struct run *run)
{
	struct link *at = &sb->runs;

	forget_old_runs(sb);
	/* A journal has them in the order in which their code was complete. */
	while (at->prev != &sb->runs &&
	       container_of(at->prev, struct run, link)->number > run->number)
		at = at->prev;
	if (sb->last_number < run->number)
		sb->last_number = run->number;
	sb->run_count++;
	list_add_before(at, &run->link);
}

void sandbox_restore_run(struct sandbox *sb, struct run *run)
{
	sandbox_add_run(sb, run);
	if (sb->core->next_order <= run->queue_order)
		sb->core->next_order = run->queue_order + 1;
}

void sandbox_move_run(struct sandbox *sb, struct sandbox *from, struct run *run)
{
	list_del(&run->link);
	from->run_count--;
	run->sandbox = sb;
	run->number = sb->last_number + 1;
	if (run != from->current)
		run->guest_id = run->number;
	sandbox_add_run(sb, run);
}

bool sandbox_in_folder(const struct core *core, folder_t folder)
{
	const struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sb->folder == folder)
			return true;
	return false;
}

unsigned sandbox_count_forks(const struct sandbox *sb)
{
	const struct sandbox *other;
	unsigned count = 0;

	list_for_each (other, &sb->core->sandboxes, struct sandbox, link)
		count += other->folder == FOLDER_FORKS(sb->serial) && !other->making;
	return count;
}

bool sandbox_is_busy(const struct sandbox *sb)
{
	const struct run *run;

	list_for_each (run, &sb->runs, struct run, link)
		if (run->state != RUN_ENDED)
			return true;
	return sandbox_in_folder(sb->core, FOLDER_FORKS(sb->serial)) ||
	       !list_empty(&sb->forks) || sb->merge || sb->merge_files;
}

struct run *sandbox_begin_run(struct sandbox *sb, enum agent_language language,
			      struct error *err)
{
	struct feed *feed = sb->next_feed;
	struct run *run;

	if (sb->state == SANDBOX_DEAD) {
		error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
		return NULL;
	}
	if (sb->folder == FOLDER_HIDDEN) {
		error_say(err, EIO, "%s is a template now", sb->name);
		return NULL;
	}
	sb->next_feed = NULL;
	if (!feed)
		feed = feed_new();
	run = feed ? run_new(sb, language, sb->last_number + 1, feed) : NULL;
	feed_unref(feed);
	if (!run) {
		error_say(err, ENOMEM, "no memory for another run");
		return NULL;
	}
	sandbox_add_run(sb, run);
	return run;
}

void sandbox_cancel_run(struct run *run)
{
	struct sandbox *sb = run->sandbox;

	run_end(run, 1);
	if (!sb)
		return;
	journal_feed_gone(run->feed);
	let_go(sb, run);
	limits_used(sb);
}

void sandbox_submit_run(struct run *run)
{
	struct sandbox *sb = run->sandbox;

	if (run->state != RUN_WRITING)
		return;
	run->queue_order = sb->core->next_order++;
	run_complete(run);
	journal_run(run);
	guest_next(sb);
}

void sandbox_discard_vm(struct core *core, uint32_t vm)
{
	vmm_destroy(&core->vmm, vm);
}

void sandbox_event_ended(struct sandbox *sb, const struct run *run)
{
	sandbox_event(
	    sb, "run_ended",
	    json_pack("{s:i, s:i}", "run", (int)run->number, "exit", run->exit_code));
}

void sandbox_end_run(struct sandbox *sb, struct run *run, int exit_code)
{
	if (sb->current == run)
		sb->current = NULL;
	journal_end(run, exit_code);
	run_explain_timeout(run, sb->exec_timeout_ms);
	run_end(run, exit_code);
	journal_tidy(sb);
	limits_used(sb);
	sandbox_event_ended(sb, run);
}

/* The machine that it runs in, or would have run in, is no more. */
static void end_by_force(struct sandbox *sb, struct run *run)
{
	sandbox_end_run(sb, run, run->timed_out ? EXIT_TIMEOUT : EXIT_KILLED);
}

static void end_runs(struct sandbox *sb)
{
	struct run *run;

	list_for_each (run, &sb->runs, struct run, link)
		if (run->state != RUN_ENDED)
			end_by_force(sb, run);
}

/* The machine is of no more use: end it at vmctl too, so that nothing is left. */
void sandbox_give_up_vm(struct sandbox *sb)
{
	struct run *run;

	loop_timer_cancel(&sb->limit);
	vmm_detach(&sb->channel);
	buf_fini(&sb->in);
	if (sb->vm && !sb->core->leaving)
		sandbox_discard_vm(sb->core, sb->vm);
	sb->vm = 0;
	ports_break(sb);
	net_lost(sb);
	list_for_each (run, &sb->runs, struct run, link)
		run_lose_changes(run);
}

void sandbox_die(struct sandbox *sb, const char *reason)
{
	struct error err;

	if (sb->state == SANDBOX_DEAD || freeze_lost(sb, reason))
		return;
	sandbox_ref(sb); /* it may go meanwhile: with the fork that it was part of */
	sb->state = SANDBOX_DEAD;
	sb->adrift = false;
	snprintf(sb->reason, sizeof(sb->reason), "%s", reason);
	error_say(&err, EIO, "%s", reason);
	sandbox_fail(sb, &err);
	sandbox_give_up_vm(sb);
	end_runs(sb);
	terminals_end(sb);
	journal_facts(sb);
	files_end(sb);
	fork_parent_ended(sb, reason);
	sandbox_event(sb, "dead", json_pack("{s:s}", "reason", reason));
	fork_settled(sb);
	merge_ended(sb);
	hold_ended(sb);
	twin_ended(sb);
	sandbox_unref(sb);
}

static void channel_dead(struct channel *channel, const char *reason)
{
	sandbox_die(container_of(channel, struct sandbox, channel), reason);
}

static void channel_lost(struct channel *channel, const char *reason)
{
	attach_lost(container_of(channel, struct sandbox, channel), reason);
}

static void channel_net(struct channel *channel, const json_t *event)
{
	net_heard(container_of(channel, struct sandbox, channel), event);
}

static void channel_drained(struct channel *channel)
{
	struct sandbox *sb = container_of(channel, struct sandbox, channel);

	freeze_next(sb);
	fork_next(sb);
	connections_drained(sb);
}

static void limit_passed(struct loop_timer *timer)
{
	struct sandbox *sb = container_of(timer, struct sandbox, limit);

	if (sb->birth)
		fork_overdue(sb);
	else
		sandbox_die(sb, sb->state == SANDBOX_STARTING
				    ? "the guest did not become ready in time"
				    : "the guest did not end a run that was killed");
}

void sandbox_adopt_vm(struct sandbox *sb, uint32_t vm, int pid, uint64_t limit_ms)
{
	sb->vm = vm;
	sb->pid = pid;
	vmm_attach(&sb->core->vmm, &sb->channel, vm);
	loop_timer_set(sb->core->loop, &sb->limit, limit_ms);
}

void sandbox_take_machine(struct sandbox *sb, struct sandbox *from)
{
	if (sb->current)
		end_by_force(sb, sb->current);
	ports_leave(from);
	sandbox_give_up_vm(sb);
	sb->state = from->state;
	sb->reason[0] = '\0';
	sb->vm = from->vm;
	sb->pid = from->pid;
	sb->image = from->image;
	sb->epoch = from->epoch;
	sb->heard = from->heard;
	sb->in = from->in;
	from->in = (struct buf){0};
	lineage_unref(sb->lineage);
	sb->lineage = from->lineage;
	from->lineage = NULL;
	sb->notes_changes = from->notes_changes;
	vmm_hand_over(&from->channel, &sb->channel);
	resources_moved(sb, from);
	sb->net.connected = from->net.connected; /* vmctl says what changes alone */
	net_apply(sb);
	loop_timer_cancel(&from->limit);
	from->vm = 0;
	net_lost(from);
	files_epoch_changed(sb);
}

static int make_id(char id[SANDBOX_ID_LEN + 1])
{
	uint8_t raw[16];

	if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
		return -EIO;
	memcpy(id, "sbx_", 4);
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(id + 4 + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

/* What else is in the root. */
static bool is_taken(const char *name)
{
	static const char *const taken[] = {"README", "templates", "new",  "events",
					    "host",   "metrics",   "error"};

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (strcmp(name, taken[i]) == 0)
			return true;
	return false;
}

int sandbox_check_name(struct core *core, folder_t folder, const char *name,
		       struct error *err)
{
	if (!core_name_ok(name))
		return error_say(err, EINVAL,
				 "a sandbox name is 1 to 64 of A-Z a-z 0-9 . _ - and does "
				 "not start with a dot");
	if (folder == FOLDER_ROOT && is_taken(name))
		return error_say(err, EEXIST, "%s is a name of the mount's own", name);
	if (find_name(core, folder, name))
		return error_say(err, EEXIST, "there is a sandbox %s already", name);
	return 0;
}

struct sandbox *sandbox_new(struct core *core, folder_t folder, const char *name,
			    size_t template, uid_t uid, gid_t gid, struct error *err)
{
	struct sandbox *sb = calloc(1, sizeof(*sb));

	if (!sb || make_id(sb->id) < 0) {
		error_say(err, ENOMEM, "no memory for another sandbox");
		free(sb);
		return NULL;
	}
	sb->core = core;
	sb->refs = 1;
	sb->serial = core->next_serial++;
	sb->folder = folder;
	strcpy(sb->name, name);
	sb->template = template;
	sb->uid = uid;
	sb->gid = gid;
	sb->mode = 0700;
	sb->journal_fd = -1;
	clock_gettime(CLOCK_REALTIME, &sb->created);
	sb->changed = sb->created;
	sb->channel.data = guest_data;
	sb->channel.dead = channel_dead;
	sb->channel.lost = channel_lost;
	sb->channel.drained = channel_drained;
	sb->channel.net = channel_net;
	list_init(&sb->runs);
	list_init(&sb->forks);
	list_init(&sb->terminals);
	loop_timer_init(&sb->limit, limit_passed);
	limits_init(sb);
	resources_init(sb);
	net_init(sb);
	list_add_before(&core->sandboxes, &sb->link);
	core->sandbox_count += folder != FOLDER_HIDDEN;
	return sb;
}

void sandbox_hide(struct sandbox *sb)
{
	struct run *run;

	list_for_each (run, &sb->runs, struct run, link)
		let_go(sb, run);
	twin_drop(sb);
	ports_drop(sb);
	limits_end(sb);
	limits_fork_gone(sb->core, sb->folder);
	sb->last_number = 0;
	sb->folder = FOLDER_HIDDEN;
	files_end(sb); /* what an answer asks for next is refused */
	sb->core->sandbox_count--;
}

void sandbox_destroy(struct sandbox *sb)
{
	struct run *run;

	sb->gone = true;
	journal_drop(sb);
	limits_end(sb);
	freeze_forget(sb);
	sandbox_give_up_vm(sb);
	end_runs(sb);
	sb->state = SANDBOX_DEAD;
	snprintf(sb->reason, sizeof(sb->reason), "it was removed");
	fork_parent_ended(sb, sb->reason);
	list_for_each (run, &sb->runs, struct run, link)
		let_go(sb, run);
	terminals_drop(sb);
	ports_drop(sb);
	files_end(sb);
	list_del(&sb->link);
	sb->core->sandbox_count -= sb->folder != FOLDER_HIDDEN;
	sandbox_event(sb, "destroyed", NULL);
	watch_notify(&sb->net.log.watchers);
	limits_fork_gone(sb->core, sb->folder);
	fork_settled(sb);
	merge_ended(sb);
	hold_ended(sb);
	twin_ended(sb);
	twin_drop(sb);
	sandbox_unref(sb);
}

void sandbox_let_go(struct sandbox *sb)
{
	struct core *core = sb->core;

	core->ending++;
	sandbox_destroy(sb);
	core->ending--;
}

int sandbox_rename(struct sandbox *sb, folder_t folder, const char *name, struct error *err)
{
	char old[SANDBOX_NAME_MAX + 1];
	int r = sandbox_check_name(sb->core, folder, name, err);

	if (r < 0)
		return r;
	strcpy(old, sb->name);
	memmove(sb->name, name, strlen(name) + 1); /* which may be that very name */
	if (folder != sb->folder)
		limits_fork_gone(sb->core, sb->folder);
	sb->folder = folder;
	journal_facts(sb);
	sandbox_event(sb, "renamed", json_pack("{s:s}", "from", old));
	return 0;
}
