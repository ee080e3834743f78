#include "pffs/core/record/freeze.h"

#include "pffs/core/caps.h"
#include "pffs/core/files/files.h"
#include "pffs/core/fork.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/merge/merge.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/record/record.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define PATIENCE_MS 10000u /* a guest may leave what it was sent, and asked, so long */
#define WAKE_MS	    30000u
#define VMCTL_MS    30000u /* until another vmctl has to be there */

enum phase {
	WAITING,   /* for the guest */
	SAVING,	   /* vmctl writes the template's memory */
	FREEZING,  /* and this machine */
	RECORDING, /* a process of ours writes the rest */
	ADMITTING, /* it is told at once, but not to who wants it right now, that it stays
		    */
	ROOMLESS, /* it is admitted, and waits for one that is being frozen, or for vmctl */
	THAWING,  /* vmctl makes a machine of the file */
	WAKING,	  /* and its agent has yet to say AWAKE */
};

/* Invariant: sb->freeze is this, or @sb has gone meanwhile and only a reply is owed. */
struct freeze {
	struct sandbox *sb; /* reference */
	enum phase phase;
	struct sandbox *saved; /* reference, while SAVING: the template's machine */
	bool wanted;	       /* somebody needs the machine again */
	char verb[16];	       /* to be carried out when it has woken, or empty */
	struct loop_timer patience;
	size_t had; /* bytes of a frame that its guest was in when it was frozen */
	struct record_writer writer;
};

bool freeze_holds(const struct sandbox *sb)
{
	return sb->freeze && sb->freeze->phase <= FREEZING;
}

bool freeze_wakes(const struct sandbox *sb)
{
	return sb->freeze && sb->freeze->phase == WAKING;
}

bool freeze_settles(const struct sandbox *sb)
{
	return sb->freeze && sb->freeze->phase == RECORDING;
}

static void release(struct freeze *freeze)
{
	caps_changed(freeze->sb->core);
	if (freeze->sb->freeze == freeze)
		freeze->sb->freeze = NULL;
	loop_timer_cancel(&freeze->patience);
	record_stop(&freeze->writer);
	sandbox_unref(freeze->sb);
	free(freeze);
}

/* It may have died, or been removed, while vmctl was asked. */
static bool is_gone(const struct freeze *freeze)
{
	return freeze->sb->freeze != freeze;
}

static void ask(struct freeze *freeze, json_t *request, vmm_reply_fn *fn)
{
	vmm_request(&freeze->sb->core->vmm, request, fn, freeze);
}

/* What it had begun to do for its run is undone: the guest goes on. */
static void go_on(struct sandbox *sb)
{
	if (sb->current)
		guest_set_timeout(sb, sb->exec_timeout_ms);
	guest_resume(sb);
	fork_next(sb);
}

void freeze_failed(struct sandbox *sb, const struct error *err)
{
	sandbox_fail(sb, err);
	sandbox_event(sb, "freeze_failed", json_pack("{s:s}", "error", err->text));
}

static void fail(struct freeze *freeze, const struct error *err)
{
	struct sandbox *sb = sandbox_ref(freeze->sb);

	release(freeze);
	freeze_failed(sb, err);
	go_on(sb);
	sandbox_unref(sb);
}

static void stay(struct freeze *freeze, const struct error *err);
static void thaw(struct freeze *freeze);
static int admit(struct sandbox *sb, struct error *err);

/* The journal has what has changed meanwhile. */
static void recorded_is_all(struct sandbox *sb)
{
	if (sb->journal_fd >= 0 && sb->journal_size != sb->journal_start)
		record_renew(sb);
	journal_drop(sb);
}

/* All is in the state directory. */
static void recorded(struct record_writer *writer, const struct error *err)
{
	struct freeze *freeze = container_of(writer, struct freeze, writer);
	struct sandbox *sb = freeze->sb;
	struct error refused;

	if (err) {
		freeze_failed(sb, err);
		thaw(freeze);
		return;
	}
	sandbox_event(sb, "frozen",
		      json_pack("{s:I}", "bytes", (json_int_t)sb->stored_bytes));
	if (freeze->wanted && admit(sb, &refused) == 0) {
		thaw(freeze);
		return;
	}
	recorded_is_all(sb);
	if (freeze->wanted) { /* and others have its room by now */
		stay(freeze, &refused);
		return;
	}
	release(freeze);
	/* What came meanwhile. */
	guest_resume(sb);
	fork_next(sb);
}

/* The machine is in its file. Its time does not run. */
static void put_away(struct sandbox *sb, json_int_t bytes)
{
	struct run *run = sb->current;

	sb->state = SANDBOX_STORED;
	sb->stored_bytes = (uint64_t)bytes;
	loop_timer_cancel(&sb->limit);
	vmm_detach(&sb->channel);
	sb->vm = 0;
	sb->pid = 0;
	net_away(sb);
	caps_changed(sb->core);
	ports_break(sb);
	files_epoch_changed(sb);
	if (run)
		run->gone_ms = (io_monotonic_ns() - run->started_ns) / 1000000u;
	/* With the part of a frame that it was in, which the new machine's stream goes on.
	 */
	sb->channel.sent = sb->channel.received = sb->channel.credited = 0;
	if (sb->journal_fd >= 0)
		journal_begin(sb);
}

static void frozen(void *ctx, json_t *reply, const struct error *failed)
{
	struct freeze *freeze = ctx;
	struct sandbox *sb = freeze->sb;
	struct error err;

	if (is_gone(freeze)) {
		if (reply)
			record_drop(sb->core, sb->id);
		release(freeze);
		return;
	}
	if (!reply) {
		fail(freeze, failed);
		return;
	}
	put_away(sb, json_integer_value(json_object_get(reply, "bytes")));
	freeze->phase = RECORDING;
	if (record_write(&freeze->writer, sb, recorded, &err) < 0)
		recorded(&freeze->writer, &err);
}

static struct sandbox *template_of(const struct sandbox *sb)
{
	const struct template *template = &sb->core->templates.list[sb->template];
	struct sandbox *machine = template->machine;

	return machine && machine != sb && machine->state == SANDBOX_FROZEN &&
		       machine->image == sb->image
		   ? machine
		   : NULL;
}

static void write_machine(struct freeze *freeze, const char *base)
{
	const struct sandbox *sb = freeze->sb;

	freeze->phase = FREEZING;
	ask(freeze,
	    json_pack("{s:s, s:I, s:s, s:s*}", "op", "freeze", "vm", (json_int_t)sb->vm,
		      "image", sb->id, "base", base),
	    frozen);
}

/* Without it, more has to be written. */
static void saved(void *ctx, json_t *reply, const struct error *err)
{
	struct freeze *freeze = ctx;
	struct sandbox *machine = freeze->saved;

	(void)err;
	freeze->saved = NULL;
	machine->saving--;
	fork_next(machine);
	sandbox_unref(machine);
	if (is_gone(freeze)) {
		release(freeze);
		return;
	}
	machine = template_of(freeze->sb);
	write_machine(freeze, reply && machine ? machine->id : NULL);
}

static void ask_vmctl(struct freeze *freeze)
{
	struct sandbox *machine = template_of(freeze->sb);

	loop_timer_cancel(&freeze->patience);
	if (!machine) {
		write_machine(freeze, NULL);
		return;
	}
	freeze->phase = SAVING;
	freeze->saved = sandbox_ref(machine);
	machine->saving++;
	ask(freeze,
	    json_pack("{s:s, s:I, s:s}", "op", "save", "vm", (json_int_t)machine->vm,
		      "image", machine->id),
	    saved);
}

void freeze_next(struct sandbox *sb)
{
	struct freeze *freeze = sb->freeze;

	if (freeze && freeze->phase == WAITING && !files_at_work(sb) &&
	    !fork_in_flight(sb) && !sb->channel.out.len)
		ask_vmctl(freeze);
}

static void patience_ends(struct loop_timer *timer)
{
	struct freeze *freeze = container_of(timer, struct freeze, patience);
	struct error err;

	error_say(&err, EAGAIN, "the guest of %s does not answer: try again",
		  freeze->sb->name);
	fail(freeze, &err);
}

static struct freeze *freeze_new(struct sandbox *sb, enum phase phase)
{
	struct freeze *freeze = calloc(1, sizeof(*freeze));

	if (!freeze)
		return NULL;
	freeze->sb = sandbox_ref(sb);
	freeze->phase = phase;
	loop_timer_init(&freeze->patience, patience_ends);
	record_writer_init(&freeze->writer);
	sb->freeze = freeze;
	return freeze;
}

static int check(struct sandbox *sb, struct error *err)
{
	const struct run *run = sb->current;
	int r = record_check(sb->core, err);

	if (r < 0)
		return r;
	if (sb->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
	if (sb->state != SANDBOX_READY)
		return error_say(err, EBUSY, "%s is %s", sb->name, sandbox_state_name(sb));
	if (run && (run->killed || run->timed_out))
		return error_say(err, EBUSY, "a run of %s is being killed", sb->name);
	return merge_check_idle(sb, err);
}

int freeze_begin(struct sandbox *sb, struct error *err)
{
	struct freeze *freeze;
	int r;

	if (sb->state == SANDBOX_STORED && !sb->freeze)
		return 0;
	if (sb->freeze)
		return error_say(err, EBUSY, "%s is being frozen or resumed", sb->name);
	r = check(sb, err);
	if (r < 0)
		return r;
	freeze = freeze_new(sb, WAITING);
	if (!freeze)
		return error_set(err, ENOMEM, "cannot freeze %s", sb->name);
	if (sb->current)
		loop_timer_cancel(&sb->current->deadline);
	loop_timer_set(sb->core->loop, &freeze->patience, PATIENCE_MS);
	freeze_next(sb);
	return 0;
}

/* It is as it was, in its file. What waited for it has waited in vain. */
static void stay(struct freeze *freeze, const struct error *err)
{
	struct sandbox *sb = sandbox_ref(freeze->sb);

	release(freeze);
	sb->state = SANDBOX_STORED;
	sandbox_fail(sb, err);
	sandbox_event(sb, "resume_failed", json_pack("{s:s}", "error", err->text));
	guest_give_up(sb);
	net_away(sb);
	files_end(sb);
	fork_parent_ended(sb, err->text);
	sandbox_unref(sb);
}

/* For the run that it was in: what it has had is what it had then. */
static void time_goes_on(struct sandbox *sb)
{
	if (sb->current)
		sb->current->started_ns =
		    io_monotonic_ns() - sb->current->gone_ms * 1000000u;
}

static void thawed(void *ctx, json_t *reply, const struct error *err)
{
	struct freeze *freeze = ctx;
	struct sandbox *sb = freeze->sb;
	json_int_t vm = json_integer_value(json_object_get(reply, "vm"));
	int pid = (int)json_integer_value(json_object_get(reply, "pid"));

	if (is_gone(freeze)) {
		if (vm)
			sandbox_discard_vm(sb->core, (uint32_t)vm);
		release(freeze);
		return;
	}
	if (!reply) {
		stay(freeze, err);
		return;
	}
	freeze->phase = WAKING;
	freeze->had = sb->in.len;
	sb->resources.quota = 0; /* of a new VM */
	time_goes_on(sb);	 /* for the journal */
	sandbox_adopt_vm(sb, (uint32_t)vm, pid, WAKE_MS);
	net_resumed(sb);
	journal_begin(sb);
	guest_wake(sb);
}

static void no_vmctl(struct loop_timer *timer)
{
	struct freeze *freeze = container_of(timer, struct freeze, patience);
	struct error err;

	error_say(&err, EIO, "vmctl cannot be reached");
	stay(freeze, &err);
}

/* As those wait that run. Nor may anything go under the hands of who wants it. */
static void wait_for_vmctl(struct freeze *freeze)
{
	if (freeze->patience.deadline_ns)
		return;
	loop_timer_init(&freeze->patience, no_vmctl);
	loop_timer_set(freeze->sb->core->loop, &freeze->patience, VMCTL_MS);
}

void freeze_resume(struct sandbox *sb)
{
	struct freeze *freeze = sb->freeze;

	if (!freeze || freeze->phase != ROOMLESS || caps_full(sb->core, 0, 0))
		return;
	if (!vmm_connected(&sb->core->vmm)) {
		wait_for_vmctl(freeze);
		return;
	}
	loop_timer_cancel(&freeze->patience);
	freeze->phase = THAWING;
	ask(freeze,
	    json_pack("{s:s, s:s, s:s, s:s}", "op", "thaw", "image", sb->id, "name",
		      sb->name, "group", sb->core->group),
	    thawed);
}

static void thaw(struct freeze *freeze)
{
	struct sandbox *sb = freeze->sb;

	freeze->phase = ROOMLESS;
	sb->state = SANDBOX_STARTING;
	if (sb->journal_fd < 0)
		journal_begin(sb);
	freeze_resume(sb);
}

static int admit(struct sandbox *sb, struct error *err)
{
	return caps_admit(sb->core, 1, resources_get(sb, RESOURCE_MEMORY_MIB), sb, err);
}

static void admission(struct loop_timer *timer)
{
	struct freeze *freeze = container_of(timer, struct freeze, patience);
	struct error err;

	if (admit(freeze->sb, &err) == 0)
		thaw(freeze);
	else
		stay(freeze, &err);
}

/* Who wants it looks at what it has for it while it asks: nothing may go under its hands.
 */
static void wait_for_admission(struct freeze *freeze)
{
	loop_timer_init(&freeze->patience, admission);
	loop_timer_set(freeze->sb->core->loop, &freeze->patience, 0);
}

void freeze_use(struct sandbox *sb)
{
	struct error ignored;

	if (sb->state != SANDBOX_STORED || sb->gone)
		return;
	if (sb->freeze) {
		sb->freeze->wanted = true;
		return;
	}
	if (!freeze_new(sb, ADMITTING))
		return;
	if (admit(sb, &ignored) == 0)
		thaw(sb->freeze);
	else
		wait_for_admission(sb->freeze);
}

void freeze_use_for(struct sandbox *sb, const char *verb)
{
	freeze_use(sb);
	if (sb->freeze)
		snprintf(sb->freeze->verb, sizeof(sb->freeze->verb), "%s", verb);
}

bool freeze_awake(struct sandbox *sb)
{
	struct freeze *freeze = sb->freeze;
	char verb[sizeof(freeze->verb)];
	struct error err;

	if (!freeze || freeze->phase != WAKING)
		return false;
	memcpy(verb, freeze->verb, sizeof(verb));
	release(freeze);
	record_drop(sb->core, sb->id);
	sb->stored_bytes = 0;
	journal_facts(sb);
	time_goes_on(sb);
	sandbox_event(sb, "resumed", NULL);
	go_on(sb);
	if (verb[0] && guest_ctl(sb, verb, &err) < 0)
		sandbox_fail(sb, &err);
	return true;
}

/* Nothing of what its machine said was heard: it goes on where its file does. */
static void lose_machine(struct sandbox *sb, size_t had)
{
	struct buf in = sb->in;
	bool unheard = in.len == had + sb->channel.received;

	sb->in = (struct buf){0};
	sandbox_give_up_vm(sb);
	sb->in = in;
	sb->in.len = had;
	if (!unheard || !had)
		buf_fini(&sb->in);
}

bool freeze_lost(struct sandbox *sb, const char *reason)
{
	struct freeze *freeze = sb->freeze;
	struct error err;

	if (!freeze || freeze->phase != WAKING) {
		freeze_forget(sb);
		return false;
	}
	error_say(&err, EIO, "%s could not be resumed: %s", sb->name, reason);
	lose_machine(sb, freeze->had);
	stay(freeze, &err);
	return true;
}

void freeze_forget(struct sandbox *sb)
{
	struct freeze *freeze = sb->freeze;
	bool stored = sb->state == SANDBOX_STORED ||
		      (freeze && (freeze->phase == ROOMLESS || freeze->phase == THAWING ||
				  freeze->phase == WAKING));

	sb->freeze = NULL;
	caps_changed(sb->core);
	if (freeze && (freeze->phase == WAITING || freeze->phase == RECORDING ||
		       freeze->phase == ADMITTING || freeze->phase == ROOMLESS ||
		       freeze->phase == WAKING))
		release(freeze); /* no reply is owed */
	if (stored && !sb->core->ending)
		record_drop(sb->core, sb->id);
}
