/*
 * A journal on its way back into the world. Its entries do to the sandbox what was done to
 * it when they were written, but nobody is told, and nothing is sent.
 */
#include "pffs/core/guest/guest.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/record/record.h"
#include "pffs/core/record/record_format.h"
#include "pffs/core/record/record_json.h"
#include "pffs/core/terminal.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define UNSENT	   UINT32_MAX  /* as a window: the guest was not told of the run */
#define UNSURE_MAX (64u << 20) /* more than can be on its way to a guest */

struct entry {
	enum journal_type type;
	uint64_t position;
	uint8_t *payload;
	size_t len;
};

/* Return: whether there is a whole entry at @at. Then @entry->payload is to be freed. */
static bool read_entry(int fd, uint64_t at, struct entry *entry)
{
	uint8_t head[JOURNAL_HEADER];
	struct cursor c = cursor_over(head, sizeof(head));
	uint64_t sum;

	if (io_pread_all(fd, head, sizeof(head), at) < 0)
		return false;
	entry->len = cursor_get_u32(&c);
	entry->type = (enum journal_type)cursor_get_u32(&c);
	entry->position = cursor_get_u64(&c);
	sum = cursor_get_u64(&c);
	if (entry->len > JOURNAL_ENTRY_MAX)
		return false;
	entry->payload = malloc(entry->len + 1);
	if (!entry->payload)
		return false;
	if (io_pread_all(fd, entry->payload, entry->len, at + JOURNAL_HEADER) == 0 &&
	    XXH3_64bits_withSeed(entry->payload, entry->len,
				 entry->position + (uint64_t)entry->type) == sum)
		return true;
	free(entry->payload);
	return false;
}

/* One that was being written when pffs was killed is the last, and did not happen. */
static void for_each_entry(const char *path, uint64_t at,
			   void (*fn)(void *ctx, const struct entry *entry), void *ctx)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct entry entry;

	while (fd >= 0 && read_entry(fd, at, &entry)) {
		fn(ctx, &entry);
		at += JOURNAL_HEADER + entry.len;
		free(entry.payload);
	}
}

/* The JSON of an entry, and what is behind it. Return: new, or NULL. */
static json_t *json_of(const struct entry *entry, const uint8_t **bytes, size_t *len)
{
	struct cursor c = cursor_over(entry->payload, entry->len);
	uint32_t size = cursor_get_u32(&c);
	const char *text = cursor_get_raw(&c, size);

	*len = cursor_left(&c);
	*bytes = entry->payload + entry->len - *len;
	return text ? json_loadb(text, size, 0, NULL) : NULL;
}

static void take_newest_facts(void *ctx, const struct entry *entry)
{
	json_t *record = ctx, *facts;
	const uint8_t *bytes;
	size_t len;

	if (entry->type != JOURNAL_FACTS)
		return;
	facts = json_of(entry, &bytes, &len);
	/* These are of the bytes that the record was begun with. */
	json_object_del(facts, "merge_report");
	json_object_del(facts, "epoch");
	json_object_del(facts, "heard");
	json_object_del(facts, "current");
	json_object_del(facts, "last");
	json_object_update(record, facts);
	json_decref(facts);
}

json_t *journal_read(const char *path, struct error *err)
{
	uint64_t end;
	json_t *record = record_read_live(path, &end, err);

	if (!record)
		return NULL;
	for_each_entry(path, end, take_newest_facts, record);
	json_object_set_new(record, "entries", json_integer((json_int_t)end));
	return record;
}

static void set_text(char **text, const uint8_t *bytes, size_t len)
{
	free(*text);
	*text = len ? strndup((const char *)bytes, len) : NULL;
}

static void read_report(struct sandbox *sb, const json_t *json, const uint8_t *bytes,
			size_t len)
{
	if (record_number(json, "merge_report") == len)
		set_text(&sb->merge_report, bytes, len);
}

/* Return: with a reference, or NULL. */
static struct feed *feed_of(struct sandbox *sb, const json_t *json)
{
	struct feed *feed = record_flag(json, "ahead") ? guest_stdin_next(sb) : feed_new();

	if (record_flag(json, "ahead"))
		sb->next_feed = NULL;
	if (feed)
		guest_stdin_settled(feed);
	return feed;
}

static void read_run(struct sandbox *sb, const json_t *json, const uint8_t *bytes,
		     size_t len)
{
	struct feed *feed = feed_of(sb, json);
	struct run *run =
	    feed ? run_new(sb, (enum agent_language)record_number(json, "language"),
			   (uint32_t)record_number(json, "number"), feed)
		 : NULL;

	feed_unref(feed);
	if (!run)
		return;
	run->guest_id = (uint32_t)record_number(json, "guest_id");
	run->queue_order = record_number(json, "order");
	run->created = record_time(json, "created");
	run->timeout_ms = record_number(json, "timeout_ms");
	stream_append(&run->code, bytes, len);
	feed->awaited = record_flag(json, "awaited");
	run_complete(run);
	sandbox_restore_run(sb, run);
}

/* Nothing begins before the guest has said that the former run has ended: so it has had all
 * that was sent before, but for keys that came after that end, and what is of no run. */
static void forget_runs(struct buf *unsure)
{
	struct buf kept = {0};
	struct agent_frame frame;
	uint8_t end[8];

	while (unsure->len > sizeof(end)) {
		memcpy(end, buf_peek(unsure), sizeof(end));
		buf_consume(unsure, sizeof(end));
		if (agent_next(unsure, &frame, NULL) != 1)
			break;
		if ((!frame.stream || frame.stream >= AGENT_TERMINALS) &&
		    buf_reserve(&kept, sizeof(end) + agent_frame_size(&frame))) {
			buf_append(&kept, end, sizeof(end));
			buf_append(&kept, buf_peek(unsure), agent_frame_size(&frame));
		}
		buf_consume(unsure, agent_frame_size(&frame));
	}
	buf_fini(unsure);
	*unsure = kept;
}

static void read_started(struct sandbox *sb, struct run *run, const json_t *json)
{
	sb->current = run;
	run->state = RUN_RUNNING;
	run->changes_due = true;
	run->started = record_time(json, "started");
	run->started_ns = record_number(json, "started_ns");
	run->feed->window = UNSENT; /* until that is said: note_said() */
	forget_runs(&sb->unsure);
}

static void read_end(struct sandbox *sb, struct run *run, const json_t *json)
{
	if (sb->current == run)
		sb->current = NULL;
	run_explain_timeout(run, sb->exec_timeout_ms);
	run_end(run, (int)record_number(json, "exit"));
	run->ended = record_time(json, "ended");
}

static void read_flags(struct run *run, const json_t *json)
{
	run->feed->awaited = record_flag(json, "awaited");
	run->timed_out = record_flag(json, "timed_out");
	run->killed = record_flag(json, "killed");
}

/* Of the stdin that waits for its run. */
static void read_ahead(struct sandbox *sb, const json_t *json)
{
	struct feed *feed = guest_stdin_next(sb);

	if (!feed)
		return;
	feed->awaited = record_flag(json, "awaited");
	if (!record_flag(json, "gone"))
		return;
	guest_stdin_settled(feed);
	feed_unref(feed);
	sb->next_feed = NULL;
}

static void read_terminal(struct sandbox *sb, const json_t *json, const uint8_t *bytes,
			  size_t len)
{
	const char *name = json_string_value(json_object_get(json, "name"));
	struct terminal facts = {
	    .number = (uint32_t)record_number(json, "number"),
	    .size = {.rows = (uint16_t)record_number(json, "rows"),
		     .cols = (uint16_t)record_number(json, "cols")},
	    .wanted = record_flag(json, "wanted"),
	    .removed = record_flag(json, "removed"),
	};

	if (!name)
		return;
	snprintf(facts.name, sizeof(facts.name), "%s", name);
	if (record_flag(json, "command"))
		facts.command = strndup((const char *)bytes, len);
	terminal_restore(sb, &facts);
	free(facts.command);
}

static void read_keys(struct sandbox *sb, const struct entry *entry)
{
	struct cursor c = cursor_over(entry->payload, entry->len);
	struct terminal *t = terminal_at(sb, cursor_get_u32(&c));
	size_t len = cursor_left(&c);

	if (t && !t->ended)
		stream_append(&t->keys, cursor_get_raw(&c, len), len);
}

static void read_json(struct sandbox *sb, const struct entry *entry)
{
	const uint8_t *bytes;
	size_t len;
	json_t *json = json_of(entry, &bytes, &len);
	struct run *run = sandbox_run(sb, (uint32_t)record_number(json, "number"));

	if (entry->type == JOURNAL_FACTS)
		read_report(sb, json, bytes, len);
	else if (entry->type == JOURNAL_RUN)
		read_run(sb, json, bytes, len);
	else if (entry->type == JOURNAL_TERMINAL)
		read_terminal(sb, json, bytes, len);
	else if (run && entry->type == JOURNAL_STARTED)
		read_started(sb, run, json);
	else if (run && entry->type == JOURNAL_END)
		read_end(sb, run, json);
	else if (run && entry->type == JOURNAL_FLAGS)
		read_flags(run, json);
	else if (entry->type == JOURNAL_FLAGS &&
		 record_number(json, "number") == JOURNAL_AHEAD)
		read_ahead(sb, json);
	json_decref(json);
}

static void read_stdin(struct sandbox *sb, const struct entry *entry)
{
	struct cursor c = cursor_over(entry->payload, entry->len);
	uint32_t number = cursor_get_u32(&c);
	const struct run *run = sandbox_run(sb, number);
	struct feed *feed = number == JOURNAL_AHEAD ? guest_stdin_next(sb)
			    : run		    ? run->feed
						    : NULL;
	size_t len = cursor_left(&c);

	if (feed)
		stream_append(&feed->bytes, cursor_get_raw(&c, len), len);
}

/* What the guest was told changes what pffs knows, too, whether it has arrived or not. */
static void note_said(struct sandbox *sb, const struct agent_frame *frame)
{
	struct run *run = sb->current;
	struct feed *feed = run ? run->feed : NULL;
	struct agent_wake wake;
	struct agent_run request;

	if (frame->type == AGENT_WAKE && agent_get_wake(frame, &wake, NULL) == 0)
		sb->epoch = wake.epoch;
	if (frame->stream >= AGENT_TERMINALS)
		terminals_said(sb, frame);
	if (!run || frame->stream != run->guest_id)
		return;
	if (frame->type == AGENT_RUN && agent_get_run(frame, &request, NULL) == 0) {
		feed->window = AGENT_STDIN_WINDOW;
		feed->ended = !request.stdin_open;
	} else if (frame->type == AGENT_STDIN) {
		feed->sent += frame->len;
		feed->window -= frame->len;
	} else if (frame->type == AGENT_STDIN_EOF) {
		feed->ended = true;
	}
}

static void forget_oldest(struct buf *unsure)
{
	struct agent_frame frame;

	buf_consume(unsure, sizeof(uint64_t));
	if (agent_next(unsure, &frame, NULL) == 1)
		buf_consume(unsure, agent_frame_size(&frame));
	else
		buf_fini(unsure);
}

/* Keep each frame, and behind which byte of the stream it ends. What it was is news only to
 * a pffs that restores it. */
static void read_said(struct sandbox *sb, const struct entry *entry)
{
	struct cursor c = cursor_over(entry->payload, entry->len);
	uint64_t place = cursor_get_u64(&c);
	size_t left = cursor_left(&c);
	struct buf frames = {0};
	struct agent_frame frame;
	uint8_t end[8];

	if (entry->type == JOURNAL_ATTACHED)
		buf_fini(&sb->unsure);
	else
		place -= left;
	if (buf_append(&frames, cursor_get_raw(&c, left), left) < 0)
		return;
	while (agent_next(&frames, &frame, NULL) == 1) {
		size_t size = agent_frame_size(&frame);
		struct cursor to = cursor_into(end, sizeof(end));

		if (entry->type == JOURNAL_SAID && sb->making)
			note_said(sb, &frame);
		place += size;
		cursor_put_u64(&to, place);
		if (!buf_reserve(&sb->unsure, sizeof(end) + size))
			break;
		buf_append(&sb->unsure, end, sizeof(end));
		buf_append(&sb->unsure, buf_peek(&frames), size);
		buf_consume(&frames, size);
		while (sb->unsure.len > UNSURE_MAX)
			forget_oldest(&sb->unsure);
	}
	buf_fini(&frames);
}

static void gather(void *ctx, const struct entry *entry)
{
	struct sandbox *sb = ctx;

	if (entry->type == JOURNAL_STARTED)
		forget_runs(&sb->unsure);
	else if (entry->type == JOURNAL_SAID || entry->type == JOURNAL_ATTACHED)
		read_said(sb, entry);
}

void journal_unsure(struct sandbox *sb)
{
	cleanup_free char *path = record_path(sb->core, sb->id, RECORD_LIVE);
	struct error ignored;
	uint64_t end;
	json_t *record = path ? record_read_live(path, &end, &ignored) : NULL;

	buf_fini(&sb->unsure);
	if (record)
		for_each_entry(path, end, gather, sb);
	json_decref(record);
}

static void read_heard(struct sandbox *sb, const struct entry *entry)
{
	struct buf bytes = {0};
	struct agent_frame frame;

	if (buf_append(&bytes, entry->payload, entry->len) == 0 &&
	    agent_next(&bytes, &frame, NULL) == 1)
		guest_hear_again(sb, &frame);
	buf_fini(&bytes);
}

static void replay(void *ctx, const struct entry *entry)
{
	struct sandbox *sb = ctx;

	if (entry->position > sb->position)
		sb->position = entry->position;
	switch (entry->type) {
	case JOURNAL_HEARD:
		read_heard(sb, entry);
		break;
	case JOURNAL_SAID:
	case JOURNAL_ATTACHED:
		read_said(sb, entry);
		break;
	case JOURNAL_STDIN:
		read_stdin(sb, entry);
		break;
	case JOURNAL_KEYS:
		read_keys(sb, entry);
		break;
	case JOURNAL_NET_LOG:
		net_log_restore(&sb->net.log, entry->payload, entry->len);
		break;
	default:
		read_json(sb, entry);
	}
}

/* Its turn had come, and no more. */
static void begin_again(struct sandbox *sb)
{
	struct run *run = sb->current;

	if (!run || run->feed->window != UNSENT)
		return;
	run->feed->window = 0;
	run->changes_due = false;
	run->state = RUN_QUEUED;
	sb->current = NULL;
}

/* What its machine was, and where. */
static void settle(struct sandbox *sb, const json_t *record)
{
	const char *reason = json_string_value(json_object_get(record, "reason"));
	struct run *run;

	begin_again(sb);
	sb->state = (enum sandbox_state)record_number(record, "state");
	snprintf(sb->reason, sizeof(sb->reason), "%s", reason ? reason : "");
	sb->vm = (uint32_t)record_number(record, "vm");
	if (sb->position)
		buf_fini(&sb->in);
	else
		sb->in.len = record_number(record, "prefix");
	if (sb->state != SANDBOX_DEAD && sb->state != SANDBOX_STORED) {
		sb->state = SANDBOX_STARTING;
		sb->adrift = true;
	}
	if (sb->state != SANDBOX_DEAD)
		return;
	terminals_end(sb);
	list_for_each (run, &sb->runs, struct run, link)
		run_lose_changes(run);
}

struct sandbox *journal_restore(struct core *core, const json_t *record, const char *path,
				struct error *err)
{
	struct sandbox *sb = record_restore_live(core, record, path, err);

	if (!sb)
		return NULL;
	sb->making = true; /* nobody is told of what was */
	sb->state = SANDBOX_STARTING;
	sb->position = record_number(record, "position");
	for_each_entry(path, record_number(record, "entries"), replay, sb);
	settle(sb, record);
	if (sb->last_terminal < record_number(record, "last_terminal"))
		sb->last_terminal = (uint32_t)record_number(record, "last_terminal");
	sb->making = false;
	return sb;
}
