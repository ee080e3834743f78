#include "pffs/core/guest.h"

#include "pffs/core/attach.h"
#include "pffs/core/files.h"
#include "pffs/core/fork.h"
#include "pffs/core/freeze.h"
#include "pffs/core/hold.h"
#include "pffs/core/journal.h"
#include "pffs/core/merge.h"
#include "pffs/core/template.h"
#include "pffs/core/terminal.h"
#include "pffs/core/twin.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define CODE_PIECE    16384u
#define KILL_GRACE_MS 30000 /* how long a guest may take to end a killed run */

static void send_signal(struct sandbox *sb, enum agent_signal signal)
{
	size_t from = sb->channel.out.len;

	agent_put_signal(&sb->channel.out, sb->epoch, sb->current->guest_id, signal);
	journal_said(sb, from);
	vmm_flush(&sb->channel);
}

static void kill_current(struct sandbox *sb)
{
	send_signal(sb, AGENT_KILL);
	loop_timer_set(sb->core->loop, &sb->limit, KILL_GRACE_MS);
}

/* Send what the program may have: bytes within the window, then end of file. */
static void pump_stdin(struct feed *feed)
{
	struct run *run = feed->run;
	struct sandbox *sb = run ? run->sandbox : NULL;
	uint8_t piece[16384];
	size_t from;

	if (!sb || sb->making || sb->current != run || feed->ended || fork_in_flight(sb) ||
	    freeze_holds(sb))
		return;
	if (sb->freeze || sb->state == SANDBOX_STORED) {
		if ((feed->window && feed->sent < feed->bytes.size) ||
		    (!feed->writers && !feed->awaited))
			freeze_use(sb);
		return;
	}
	from = sb->channel.out.len;
	while (feed->window && feed->sent < feed->bytes.size) {
		size_t room = feed->window < sizeof(piece) ? feed->window : sizeof(piece);
		ssize_t n = stream_read(&feed->bytes, feed->sent, piece, room);

		if (n <= 0 || agent_put(&sb->channel.out, sb->epoch, run->guest_id,
					AGENT_STDIN, piece, (size_t)n) < 0)
			break;
		feed->sent += (uint64_t)n;
		feed->window -= (uint32_t)n;
	}
	stream_drop(&feed->bytes, feed->sent);
	if (!feed->writers && !feed->awaited && feed->sent == feed->bytes.size) {
		agent_put(&sb->channel.out, sb->epoch, run->guest_id, AGENT_STDIN_EOF, NULL,
			  0);
		feed->ended = true;
	}
	journal_said(sb, from);
	vmm_flush(&sb->channel);
}

struct feed *guest_stdin_open(struct sandbox *sb)
{
	struct run *run = sb->current ? sb->current : sandbox_newest(sb);
	struct feed *feed;

	if (run && run->state != RUN_ENDED) {
		feed = run->feed;
	} else {
		if (!sb->next_feed)
			sb->next_feed = feed_new();
		feed = sb->next_feed;
	}
	if (!feed)
		return NULL;
	feed->writers++;
	feed->awaited = false;
	if (feed->run)
		journal_flags(feed->run);
	return feed_ref(feed);
}

int guest_stdin_write(struct feed *feed, const void *data, size_t len, struct error *err)
{
	int r;

	if (feed->ended)
		return error_say(err, EPIPE,
				 "nobody reads this stdin any more: open stdin before the "
				 "run starts, and write before it ends");
	r = stream_append(&feed->bytes, data, len);
	if (r < 0)
		return error_set(err, -r, "cannot keep what waits on stdin");
	if (feed->run)
		journal_stdin(feed->run, data, len);
	pump_stdin(feed);
	return 0;
}

void guest_stdin_close(struct feed *feed)
{
	feed->writers--;
	if (feed->run)
		journal_flags(feed->run);
	pump_stdin(feed);
	feed_unref(feed);
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
	kill_current(sb);
}

static void arm_deadline(struct sandbox *sb, struct run *run)
{
	uint64_t limit = sb->exec_timeout_ms;
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
	pump_stdin(feed);
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

/* The run that joined the queue first. */
static struct run *first_queued(const struct sandbox *sb)
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
	struct run *run = first_queued(sb);

	for (; run && may_start(sb); run = first_queued(sb))
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
		pump_stdin(sb->current->feed);
	resources_apply(sb);
	terminals_resume(sb);
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

static void handle_awake(struct sandbox *sb)
{
	sb->heard = sb->epoch;
	merge_awake(sb);
	if (sb->state != SANDBOX_STARTING)
		return;
	sb->state = SANDBOX_READY;
	loop_timer_cancel(&sb->limit);
	if (attach_awake(sb) || freeze_awake(sb))
		return;
	fork_settled(sb);
	twin_awake(sb);
}

/* READY counts once, from a machine that was booted, which is a template's; AWAKE may
 * be the parent's. */
static void handle_life(struct sandbox *sb, const struct agent_frame *frame)
{
	if (frame->type == AGENT_READY && sb->booting)
		template_booted(sb);
	if (frame->type != AGENT_AWAKE || !sb->epoch || frame->epoch != sb->epoch)
		return;
	journal_heard(sb, frame);
	handle_awake(sb);
}

static void handle_output(struct sandbox *sb, enum run_stream which,
			  const struct agent_frame *frame)
{
	struct run *run = sb->current;
	struct error err;
	int r = run_output(run, which, frame->payload, frame->len);

	if (r == 0 || run->killed)
		return;
	error_set(&err, -r, "run %u was killed: its output cannot be kept", run->number);
	sandbox_fail(sb, &err);
	run->killed = true;
	journal_flags(run);
	kill_current(sb);
}

static int handle_exit(struct sandbox *sb, const struct agent_frame *frame,
		       struct error *err)
{
	struct run *run = sb->current;
	struct agent_exit status;
	int r = agent_get_exit(frame, &status, err);
	int code = status.signaled ? 128 + status.value : status.value;

	if (r < 0)
		return r;
	if (sb->state == SANDBOX_READY)
		loop_timer_cancel(&sb->limit);
	sandbox_end_run(sb, run, run->timed_out ? EXIT_TIMEOUT : code);
	guest_next(sb);
	return 0;
}

static int handle_figure(struct sandbox *sb, const struct agent_frame *frame,
			 struct error *err)
{
	struct cursor c = cursor_over(frame->payload, frame->len);
	uint32_t number = cursor_get_u32(&c);

	if (c.overflow)
		return error_say(err, EPROTO, "the guest sent a figure without a number");
	run_figure(sb->current, number, frame->payload + 4, frame->len - 4);
	return 0;
}

static int handle_stdin_taken(struct sandbox *sb, const struct agent_frame *frame,
			      struct error *err)
{
	struct feed *feed = sb->current->feed;
	uint32_t bytes;
	int r = agent_get_stdin_taken(frame, &bytes, err);

	if (r < 0)
		return r;
	if (bytes > AGENT_STDIN_WINDOW - feed->window)
		return error_say(err, EPROTO,
				 "the guest took more stdin than it was given");
	feed->window += bytes;
	pump_stdin(feed);
	return 0;
}

/* Until its agent has woken, a machine goes on with what it had begun to say. */
static bool is_of_this_epoch(const struct sandbox *sb, const struct agent_frame *frame)
{
	return (uint16_t)(frame->epoch - sb->heard) <= (uint16_t)(sb->epoch - sb->heard);
}

/* They come behind the run's end. */
static int handle_changes(struct sandbox *sb, const struct agent_frame *frame,
			  struct error *err)
{
	struct run *run;
	int r;

	journal_heard(sb, frame);
	list_for_each (run, &sb->runs, struct run, link) {
		if (run->guest_id != frame->stream || run->state != RUN_ENDED ||
		    !run->changes_due || !is_of_this_epoch(sb, frame))
			continue;
		r = run_changes(run, frame->payload, frame->len);
		if (r == -EPROTO)
			return error_say(
			    err, EPROTO,
			    "the guest's list of a run's changes is malformed");
		if (r < 0)
			run_lose_changes(run);
		return 0;
	}
	return 0;
}

/* Frames of a run that is not the current one crossed its end: they are old. */
static int handle_run_frame(struct sandbox *sb, const struct agent_frame *frame,
			    struct error *err)
{
	if (frame->type == AGENT_CHANGES)
		return handle_changes(sb, frame, err);
	if (!sb->current || frame->stream != sb->current->guest_id ||
	    !is_of_this_epoch(sb, frame))
		return 0;
	if (frame->type != AGENT_EXIT) /* a run's end is journaled, whatever ends it */
		journal_heard(sb, frame);
	switch (frame->type) {
	case AGENT_STDOUT:
		handle_output(sb, RUN_STDOUT, frame);
		return 0;
	case AGENT_STDERR:
		handle_output(sb, RUN_STDERR, frame);
		return 0;
	case AGENT_FIGURE:
		return handle_figure(sb, frame, err);
	case AGENT_EXIT:
		return handle_exit(sb, frame, err);
	case AGENT_OUT_OF_MEMORY:
		resources_out_of_memory(sb);
		return 0;
	case AGENT_STDIN_TAKEN:
		return handle_stdin_taken(sb, frame, err);
	default:
		return 0;
	}
}

static int handle_frame(struct sandbox *sb, const struct agent_frame *frame,
			struct error *err)
{
	if (frame->type < AGENT_READY)
		return error_say(err, EPROTO,
				 "the guest sent a frame that only a host sends");
	if (frame->type == AGENT_FILES_REPLY || frame->type == AGENT_FILES_CHANGED)
		return frame->epoch == sb->epoch ? files_frame(sb, frame, err) : 0;
	files_heard(sb);
	if (frame->stream >= AGENT_TERMINALS)
		return is_of_this_epoch(sb, frame) ? terminals_frame(sb, frame, err) : 0;
	if (frame->stream)
		return handle_run_frame(sb, frame, err);
	if (frame->type == AGENT_HELD)
		return frame->epoch == sb->epoch ? hold_frame(sb, frame, err) : 0;
	handle_life(sb, frame);
	return 0;
}

void guest_hear_again(struct sandbox *sb, const struct agent_frame *frame)
{
	struct error ignored; /* it would have ended the sandbox then */

	if (frame->type == AGENT_AWAKE)
		sb->heard = frame->epoch;
	else if (frame->stream)
		handle_run_frame(sb, frame, &ignored);
}

/* Return: 0, or -EPROTO with @err filled. */
static int handle_frames(struct sandbox *sb, struct error *err)
{
	struct agent_frame frame;
	int r;

	while ((r = agent_next(&sb->in, &frame, err)) == 1) {
		sb->handling = agent_frame_size(&frame);
		r = handle_frame(sb, &frame, err);
		sb->handling = 0;
		if (r < 0 || sb->state == SANDBOX_DEAD)
			break;
		buf_consume(&sb->in, agent_frame_size(&frame));
	}
	vmm_took(&sb->channel, sb->in.len);
	return r < 0 ? r : 0;
}

/* A frame may be the end of its sandbox: of a fork that is not wanted any more. */
void guest_data(struct channel *channel, const uint8_t *data, size_t len)
{
	struct sandbox *sb = sandbox_ref(container_of(channel, struct sandbox, channel));
	struct error err;

	if (buf_append(&sb->in, data, len) < 0)
		sandbox_die(sb, "no memory for what the guest sent");
	else if (handle_frames(sb, &err) < 0)
		sandbox_die(sb, err.text);
	sandbox_unref(sb);
}

/* Its machine is in a file, or on its way from there. */
static bool is_away(const struct sandbox *sb)
{
	return sb->state == SANDBOX_STORED || (sb->state == SANDBOX_STARTING && sb->freeze);
}

static int interrupt(struct sandbox *sb, struct error *err)
{
	if (!sb->current)
		return error_say(err, ESRCH, "no run is going on in %s", sb->name);
	if (is_away(sb)) {
		freeze_use_for(sb, "interrupt");
		return 0;
	}
	send_signal(sb, AGENT_INTERRUPT);
	return 0;
}

/* A run that still waits for the machine is ended here; one in the guest, there. */
static int kill_run(struct sandbox *sb, struct error *err)
{
	struct run *queued = first_queued(sb);

	if (sb->current && is_away(sb)) {
		freeze_use_for(sb, "kill");
	} else if (sb->current) {
		sb->current->killed = true;
		journal_flags(sb->current);
		kill_current(sb);
	} else if (queued) {
		sandbox_end_run(sb, queued, EXIT_KILLED);
	} else {
		return error_say(err, ESRCH, "no run is going on in %s", sb->name);
	}
	return 0;
}

static int reset(struct sandbox *sb, struct error *err)
{
	size_t from;

	if (is_away(sb)) {
		freeze_use_for(sb, "reset");
		return 0;
	}
	if (sb->state == SANDBOX_STARTING)
		return error_say(err, EBUSY, "%s is starting", sb->name);
	from = sb->channel.out.len;
	agent_put(&sb->channel.out, sb->epoch, 0, AGENT_RESET, NULL, 0);
	journal_said(sb, from);
	vmm_flush(&sb->channel);
	sandbox_event(sb, "reset", NULL);
	return 0;
}

static int resume(struct sandbox *sb, struct error *err)
{
	if (freeze_holds(sb))
		return error_say(err, EBUSY, "%s is being frozen", sb->name);
	freeze_use(sb);
	return 0;
}

int guest_ctl(struct sandbox *sb, const char *verb, struct error *err)
{
	static const struct {
		const char *verb;
		int (*fn)(struct sandbox *sb, struct error *err);
	} verbs[] = {
	    {"interrupt", interrupt}, {"kill", kill_run}, {"reset", reset},
	    {"freeze", freeze_begin}, {"resume", resume},
	};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verb, verbs[i].verb) != 0)
			continue;
		if (sb->state == SANDBOX_DEAD)
			return error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
		if (sb->state == SANDBOX_FROZEN)
			return error_say(err, EBUSY, "%s stands still", sb->name);
		if (freeze_holds(sb))
			return error_say(err, EBUSY, "%s is being frozen: try again",
					 sb->name);
		return verbs[i].fn(sb, err);
	}
	return error_say(
	    err, EINVAL,
	    "ctl knows interrupt, kill, reset, freeze and resume, not \"%.40s\"", verb);
}
