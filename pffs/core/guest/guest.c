#include "pffs/core/guest/guest_parts.h"

#include "pffs/core/files/files.h"
#include "pffs/core/fork.h"
#include "pffs/core/net/connection.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/terminal.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define CODE_PIECE    16384u
#define KILL_GRACE_MS 30000 /* how long a guest may take to end a killed run */

void guest_signal(struct sandbox *sb, enum agent_signal signal)
{
	size_t from = sb->channel.out.len;

	agent_put_signal(&sb->channel.out, sb->epoch, sb->current->guest_id, signal);
	journal_said(sb, from);
	vmm_flush(&sb->channel);
}

void guest_kill(struct sandbox *sb)
{
	guest_signal(sb, AGENT_KILL);
	if (!sb->adrift) /* else when it has woken: guest_go_on() */
		loop_timer_set(sb->core->loop, &sb->limit, KILL_GRACE_MS);
}

static void deadline_passed(struct loop_timer *timer)
{
	struct run *run = container_of(timer, struct run, deadline);
	struct sandbox *sb = run->sandbox;

	if (!sb || sb->current != run)
		return;
	run->timed_out = true;
	journal_flags(run);
	sandbox_event(sb, "run_timed_out", json_pack("{s:i}", "run", (int)run->number));
	guest_kill(sb);
}

static void arm_deadline(struct sandbox *sb, struct run *run)
{
	uint64_t limit = run->timeout_ms ? run->timeout_ms : sb->exec_timeout_ms;
	uint64_t gone = (io_monotonic_ns() - run->started_ns) / 1000000u;

	run->deadline.fn = deadline_passed;
	loop_timer_cancel(&run->deadline);
	if (limit && !run->timed_out && !sb->freeze && sb->state != SANDBOX_STORED)
		loop_timer_set(sb->core->loop, &run->deadline,
			       gone < limit ? limit - gone : 0);
}

void guest_set_timeout(struct sandbox *sb, uint64_t timeout_ms)
{
	sb->exec_timeout_ms = timeout_ms;
	journal_facts(sb);
	if (sb->current)
		arm_deadline(sb, sb->current);
}

static void send_code(struct sandbox *sb, struct run *run)
{
	struct feed *feed = run->feed;
	struct agent_run request = {
	    .language = (uint8_t)run->language,
	    .stdin_open = feed->writers || feed->awaited || feed->bytes.size,
	    .code_length = (uint32_t)run->code.size,
	};
	size_t from = sb->channel.out.len;
	uint8_t piece[CODE_PIECE];
	uint64_t at = 0;
	ssize_t n;

	agent_put_run(&sb->channel.out, sb->epoch, run->guest_id, &request);
	while ((n = stream_read(&run->code, at, piece, sizeof(piece))) > 0) {
		agent_put(&sb->channel.out, sb->epoch, run->guest_id, AGENT_CODE, piece,
			  (size_t)n);
		at += (uint64_t)n;
	}
	journal_said(sb, from);
	feed->window = AGENT_STDIN_WINDOW;
	feed->ended = !request.stdin_open;
	guest_stdin_pump(feed);
	vmm_flush(&sb->channel);
}

static void tell_of_start(struct sandbox *sb, const struct run *run)
{
	sandbox_event(sb, "run_started",
		      json_pack("{s:i, s:s}", "run", (int)run->number, "language",
				run_language(run)));
}

/* All of what starts a run is queued, or nothing. */
static bool has_room(struct sandbox *sb, const struct run *run)
{
	size_t frames = run->code.size / CODE_PIECE + 3;

	return buf_reserve(&sb->channel.out,
			   run->code.size +
			       frames * (AGENT_HEADER + sizeof(struct agent_run)));
}

static void refuse_run(struct sandbox *sb, struct run *run)
{
	struct error err;

	error_say(&err, ENOMEM, "run %u was not started: no memory to send its code",
		  run->number);
	sandbox_fail(sb, &err);
	sandbox_end_run(sb, run, EXIT_KILLED);
}

static void start_run(struct sandbox *sb, struct run *run)
{
	sb->current = run;
	run->state = RUN_RUNNING;
	run->changes_due = true;
	run->started_ns = io_monotonic_ns();
	clock_gettime(CLOCK_REALTIME, &run->started);
	journal_started(run);
	send_code(sb, run);
	arm_deadline(sb, run);
	tell_of_start(sb, run);
	watch_notify(&run->watchers);
}

struct run *guest_first_queued(const struct sandbox *sb)
{
	struct run *run, *first = NULL;

	list_for_each (run, &sb->runs, struct run, link)
		if (run->state == RUN_QUEUED &&
		    (!first || run->queue_order < first->queue_order))
			first = run;
	return first;
}

static bool may_start(const struct sandbox *sb)
{
	return sb->state == SANDBOX_READY && !sb->current && !sb->making &&
	       !fork_in_flight(sb) && !freeze_holds(sb);
}

void guest_next(struct sandbox *sb)
{
	struct run *run = guest_first_queued(sb);

	for (; run && may_start(sb); run = guest_first_queued(sb))
		if (has_room(sb, run))
			start_run(sb, run);
		else
			refuse_run(sb, run);
	if (run && !sb->current)
		freeze_use(sb);
}

void guest_give_up(struct sandbox *sb)
{
	struct run *run;

	ports_give_up(sb);
	list_for_each (run, &sb->runs, struct run, link)
		if (run->state == RUN_QUEUED)
			sandbox_end_run(sb, run, EXIT_KILLED);
}

void guest_moved(struct sandbox *sb)
{
	struct run *run = sb->current;

	if (run) {
		tell_of_start(sb, run);
		arm_deadline(sb, run);
		if (run->timed_out || run->killed)
			loop_timer_set(sb->core->loop, &sb->limit, KILL_GRACE_MS);
	}
	guest_resume(sb);
}

void guest_resume(struct sandbox *sb)
{
	if (sb->current)
		guest_stdin_pump(sb->current->feed);
	resources_apply(sb);
	terminals_resume(sb);
	connections_resume(sb);
	guest_next(sb);
	files_next(sb);
}

static void send_wake(struct sandbox *sb, const struct sandbox *who, bool frozen)
{
	struct agent_wake wake = {.epoch = (uint16_t)(sb->epoch + 1),
				  .realtime_ns = io_realtime_ns(),
				  .frozen = frozen};
	size_t from = sb->channel.out.len;

	if (getrandom(wake.entropy, sizeof(wake.entropy), 0) != sizeof(wake.entropy)) {
		sandbox_die(sb, "the host has no entropy for the guest");
		return;
	}
	snprintf(wake.hostname, sizeof(wake.hostname), "%s", who->name);
	snprintf(wake.id, sizeof(wake.id), "%s", who->id);
	sb->epoch = wake.epoch;
	if (agent_put_wake(&sb->channel.out, &wake) < 0) {
		sandbox_die(sb, "no memory to wake the guest");
		return;
	}
	journal_said(sb, from);
	ports_break(sb);
	files_epoch_changed(sb); /* what is asked again comes behind it */
	vmm_flush(&sb->channel);
}

void guest_wake_as(struct sandbox *sb, const struct sandbox *who)
{
	send_wake(sb, who, false);
}

void guest_wake_frozen(struct sandbox *sb)
{
	send_wake(sb, sb, true);
}

void guest_wake(struct sandbox *sb)
{
	guest_wake_as(sb, sb);
}

void guest_go_on(struct sandbox *sb)
{
	const struct run *run = sb->current;

	sandbox_event(sb, "ready", NULL);
	if (sb->current)
		arm_deadline(sb, sb->current);
	if (run && (run->timed_out || run->killed))
		loop_timer_set(sb->core->loop, &sb->limit, KILL_GRACE_MS);
	guest_resume(sb);
	fork_next(sb);
}
