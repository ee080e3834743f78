/*
 * What a guest says, which is hostile: frames of its agent.
 */
#include "pffs/core/guest/guest_parts.h"

#include "pffs/core/files/files.h"
#include "pffs/core/fork.h"
#include "pffs/core/merge/hold.h"
#include "pffs/core/merge/merge.h"
#include "pffs/core/net/connection.h"
#include "pffs/core/record/attach.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/template.h"
#include "pffs/core/terminal.h"
#include "pffs/core/twin.h"

#include <errno.h>
#include <string.h>

/* Of a machine that wakes; the rest of the window is for the end of a frame. */
#define HEARD_LATER_MAX (LINK_WINDOW / 2)

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
	sb->notes_changes = frame->len == 1 && frame->payload[0];
	if (sb->heard != sb->epoch) /* again: no news */
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
	guest_kill(sb);
}

static int handle_exit(struct sandbox *sb, const struct agent_frame *frame,
		       struct error *err)
{
	struct run *run = sb->current;
	struct agent_exit status;
	int r = agent_get_exit(frame, &status, err);

	if (r < 0)
		return r;
	if (sb->state == SANDBOX_READY)
		loop_timer_cancel(&sb->limit);
	sandbox_end_run(sb, run, run->timed_out ? EXIT_TIMEOUT : agent_exit_code(&status));
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
	guest_stdin_pump(feed);
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

	list_for_each (run, &sb->runs, struct run, link) {
		if (run->guest_id != frame->stream || run->state != RUN_ENDED ||
		    !run->changes_due || !is_of_this_epoch(sb, frame))
			continue;
		journal_heard(sb, frame);
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

/* What changes nothing is not written: a guest could fill the disk with it. A run's end is
 * journaled, whatever ends it. */
static bool is_news(const struct run *run, const struct agent_frame *frame)
{
	struct cursor c = cursor_over(frame->payload, frame->len);
	uint32_t bytes;

	switch (frame->type) {
	case AGENT_STDOUT:
	case AGENT_STDERR:
		return frame->len;
	case AGENT_FIGURE:
		return frame->len >= 4 &&
		       run_takes_figure(run, cursor_get_u32(&c), frame->len - 4);
	case AGENT_STDIN_TAKEN:
		return agent_get_stdin_taken(frame, &bytes, NULL) == 0 && bytes;
	case AGENT_OUT_OF_MEMORY:
		return !run->out_of_memory;
	default:
		return false;
	}
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
	if (is_news(sb->current, frame))
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
	files_statfs_drop(sb);
	if (frame->stream >= AGENT_TERMINALS)
		return is_of_this_epoch(sb, frame) ? terminals_frame(sb, frame, err) : 0;
	if (agent_is_port(frame->stream))
		return frame->epoch == sb->epoch ? connections_frame(sb, frame, err) : 0;
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
	else if (frame->stream >= AGENT_TERMINALS)
		terminals_frame(sb, frame, &ignored);
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

/* A machine that does not wake is begun once more from its file, and says all this again:
 * so it counts when it has woken. What is more than a guest has to say until then is heard.
 */
static bool may_be_heard(const struct sandbox *sb)
{
	struct buf in = sb->in; /* to look through; the bytes stay */
	struct agent_frame frame;
	int r;

	if (!freeze_wakes(sb) || in.len > HEARD_LATER_MAX)
		return true;
	while ((r = agent_next(&in, &frame, NULL)) == 1 &&
	       (frame.type != AGENT_AWAKE || frame.epoch != sb->epoch))
		buf_consume(&in, agent_frame_size(&frame));
	return r != 0;
}

/* A frame may be the end of its sandbox: of a fork that is not wanted any more. */
void guest_data(struct channel *channel, const uint8_t *data, size_t len)
{
	struct sandbox *sb = sandbox_ref(container_of(channel, struct sandbox, channel));
	struct error err;

	if (buf_append(&sb->in, data, len) < 0)
		sandbox_die(sb, "no memory for what the guest sent");
	else if (may_be_heard(sb) && handle_frames(sb, &err) < 0)
		sandbox_die(sb, err.text);
	sandbox_unref(sb);
}
