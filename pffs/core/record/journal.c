#include "pffs/core/record/journal.h"

#include "pffs/core/guest/guest.h"
#include "pffs/core/record/record.h"
#include "pffs/core/record/record_format.h"
#include "pffs/core/terminal.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#define OLD_MAX	 (8u << 20)    /* bytes of entries that are no reason to begin anew */
#define QUIET_NS 1000000000ull /* by then vmctl has what it was sent */

uint64_t journal_position(const struct sandbox *sb)
{
	uint64_t come = sb->channel.received + sb->handling;

	return come > sb->in.len ? come - sb->in.len : 0;
}

static void stop(struct sandbox *sb)
{
	if (sb->journal_fd >= 0)
		close(sb->journal_fd);
	sb->journal_fd = -1;
}

void journal_drop(struct sandbox *sb)
{
	bool stays = sb->core->ending && sb->state == SANDBOX_STORED;

	stop(sb);
	if (!sb->core->leaving && !stays)
		record_unlink(sb->core, sb->id, RECORD_LIVE);
}

/* Half of the truth would be restored as if it were all. */
static void give_up(struct sandbox *sb, int errnum)
{
	struct error err;

	journal_drop(sb);
	error_set(&err, errnum,
		  "what %s is and does from now on is lost when pffs is killed", sb->name);
	sandbox_fail(sb, &err);
}

static ssize_t put_entry(int fd, enum journal_type type, uint64_t position,
			 const struct iovec *parts, int count)
{
	uint8_t head[JOURNAL_HEADER];
	struct cursor c = cursor_into(head, sizeof(head));
	struct iovec iov[4] = {{.iov_base = head, .iov_len = sizeof(head)}};
	XXH3_state_t *hash = XXH3_createState();
	size_t len = 0;
	ssize_t n;

	if (!hash)
		return -ENOMEM;
	XXH3_64bits_reset_withSeed(hash, position + (uint64_t)type);
	for (int i = 0; i < count; i++) {
		iov[i + 1] = parts[i];
		len += parts[i].iov_len;
		if (parts[i].iov_len)
			XXH3_64bits_update(hash, parts[i].iov_base, parts[i].iov_len);
	}
	if (len > JOURNAL_ENTRY_MAX) {
		XXH3_freeState(hash);
		return -EFBIG;
	}
	cursor_put_u32(&c, (uint32_t)len);
	cursor_put_u32(&c, type);
	cursor_put_u64(&c, position);
	cursor_put_u64(&c, XXH3_64bits_digest(hash));
	XXH3_freeState(hash);
	n = writev(fd, iov, count + 1);
	if (n < 0)
		return -errno;
	return (size_t)n == len + sizeof(head) ? n : -ENOSPC;
}

static void put(struct sandbox *sb, enum journal_type type, const struct iovec *parts,
		int count)
{
	ssize_t n;

	if (sb->journal_fd < 0)
		return;
	n = put_entry(sb->journal_fd, type, journal_position(sb), parts, count);
	if (n < 0)
		give_up(sb, (int)-n);
	else
		sb->journal_size += (uint64_t)n;
}

static struct iovec part(const void *data, size_t len)
{
	return (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
}

/* JSON alone, or with bytes behind it. @json is stolen. */
static void put_json(struct sandbox *sb, enum journal_type type, json_t *json,
		     const struct buf *bytes)
{
	cleanup_free char *text = json_dumps(json, JSON_COMPACT);
	uint8_t length[4];
	struct cursor c = cursor_into(length, sizeof(length));
	struct iovec parts[3] = {part(length, sizeof(length))};

	json_decref(json);
	if (!text) {
		give_up(sb, ENOMEM);
		return;
	}
	cursor_put_u32(&c, (uint32_t)strlen(text));
	parts[1] = part(text, strlen(text));
	if (bytes)
		parts[2] = part(buf_peek(bytes), bytes->len);
	put(sb, type, parts, bytes ? 3 : 2);
}

/* Return: a descriptor, or -errno with @err filled. */
static int write_anew(struct sandbox *sb, const char *path, bool attached,
		      struct error *err)
{
	const struct buf *out = &sb->channel.out;
	int fd = record_begin(sb, path, err);
	uint8_t place[8];
	struct cursor c = cursor_into(place, sizeof(place));
	const struct iovec parts[] = {part(place, sizeof(place)),
				      part(buf_peek(out), out->len)};
	ssize_t n;

	if (fd < 0 || !attached)
		return fd;
	cursor_put_u64(&c, sb->channel.sent);
	n = put_entry(fd, JOURNAL_ATTACHED, journal_position(sb), parts, 2);
	if (n >= 0)
		return fd;
	close(fd);
	return error_set(err, (int)-n, "cannot write %s", path);
}

static void begin(struct sandbox *sb, bool attached)
{
	cleanup_free char *path = NULL, *fresh = NULL;
	struct error err;
	int fd;

	if (sb->core->state_fd < 0 || !sandbox_is_known(sb) || sb->gone)
		return;
	stop(sb);
	path = record_path(sb->core, sb->id, RECORD_LIVE);
	fresh = record_path(sb->core, sb->id, RECORD_LIVE ".new");
	if (!path || !fresh) {
		give_up(sb, ENOMEM);
		return;
	}
	fd = write_anew(sb, fresh, attached, &err);
	if (fd < 0 || rename(fresh, path) < 0) {
		if (fd >= 0)
			close(fd);
		unlink(fresh);
		give_up(sb, fd < 0 ? -fd : errno);
		return;
	}
	sb->journal_fd = fd;
	sb->journal_size = sb->journal_start = (uint64_t)lseek(fd, 0, SEEK_CUR);
}

void journal_begin(struct sandbox *sb)
{
	begin(sb, false);
}

void journal_attach(struct sandbox *sb)
{
	begin(sb, true);
}

void journal_facts(struct sandbox *sb)
{
	const char *text = sb->merge_report ? sb->merge_report : "";
	struct buf report = {0};
	json_t *facts;

	if (sb->journal_fd < 0 && sb->state == SANDBOX_STORED && !sb->freeze)
		record_renew(sb);
	if (sb->journal_fd < 0)
		return;
	facts = record_facts(sb);
	buf_append(&report, text, strlen(text));
	json_object_set_new(facts, "merge_report", json_integer((json_int_t)report.len));
	put_json(sb, JOURNAL_FACTS, facts, &report);
	buf_fini(&report);
}

static int add_stream(struct buf *to, const struct stream *from)
{
	uint8_t piece[65536];
	uint64_t at = 0;
	ssize_t n;

	while ((n = stream_read(from, at, piece, sizeof(piece))) > 0) {
		if (buf_append(to, piece, (size_t)n) < 0)
			return -ENOMEM;
		at += (uint64_t)n;
	}
	return (int)n;
}

/* What was written to stdin before the run was there. */
static void put_stdin(struct run *run)
{
	const struct feed *feed = run->feed;
	uint8_t piece[65536];
	uint64_t at = feed->sent;
	ssize_t n;

	while ((n = stream_read(&feed->bytes, at, piece, sizeof(piece))) > 0) {
		journal_stdin(run->feed, piece, (size_t)n);
		at += (uint64_t)n;
	}
	if (n < 0)
		give_up(run->sandbox, (int)-n);
}

static bool is_awaited(const struct feed *feed)
{
	return feed->writers || feed->awaited;
}

void journal_run(struct run *run)
{
	struct sandbox *sb = run->sandbox;
	bool ahead = run->feed->ahead_of == sb;
	struct buf bytes = {0};

	guest_stdin_settled(run->feed);
	if (!sb || sb->journal_fd < 0)
		return;
	if (add_stream(&bytes, &run->code) < 0)
		give_up(sb, ENOMEM);
	else
		put_json(sb, JOURNAL_RUN,
			 json_pack(
			     "{s:I, s:I, s:I, s:i, s:I, s:b, s:b, s:[I, I]}", "number",
			     (json_int_t)run->number, "guest_id", (json_int_t)run->guest_id,
			     "order", (json_int_t)run->queue_order, "language",
			     (int)run->language, "timeout_ms", (json_int_t)run->timeout_ms,
			     "awaited", is_awaited(run->feed), "ahead", ahead, "created",
			     (json_int_t)run->created.tv_sec,
			     (json_int_t)run->created.tv_nsec),
			 &bytes);
	buf_fini(&bytes);
	if (!ahead)
		put_stdin(run);
}

void journal_started(struct run *run)
{
	put_json(run->sandbox, JOURNAL_STARTED,
		 json_pack("{s:I, s:I, s:[I, I]}", "number", (json_int_t)run->number,
			   "started_ns", (json_int_t)run->started_ns, "started",
			   (json_int_t)run->started.tv_sec,
			   (json_int_t)run->started.tv_nsec),
		 NULL);
}

void journal_flags(struct run *run)
{
	if (run->sandbox && run->state != RUN_WRITING && run->state != RUN_ENDED)
		put_json(run->sandbox, JOURNAL_FLAGS,
			 json_pack("{s:I, s:b, s:b, s:b}", "number",
				   (json_int_t)run->number, "awaited",
				   is_awaited(run->feed), "timed_out", run->timed_out,
				   "killed", run->killed),
			 NULL);
}

/* What was on its way to the guest has arrived; a run that has ended had all of its own. */
static bool is_quiet(const struct sandbox *sb)
{
	uint64_t newest = sb->current ? sb->said_ns : sb->typed_ns;

	if (!sb->current && list_empty(&sb->terminals))
		return true;
	return !sb->core->vmm.out.len && io_monotonic_ns() - newest > QUIET_NS;
}

/* Once in a while, when nothing is on its way to the guest, what is old goes. */
static bool is_mostly_old(const struct sandbox *sb)
{
	return sb->journal_fd >= 0 && sb->state == SANDBOX_READY && !sb->channel.out.len &&
	       sb->journal_size > 2 * sb->journal_start + OLD_MAX && is_quiet(sb);
}

void journal_end(struct run *run, int exit_code)
{
	struct sandbox *sb = run->sandbox;
	struct timespec now;

	if (!sb || sb->journal_fd < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	put_json(sb, JOURNAL_END,
		 json_pack("{s:I, s:i, s:[I, I]}", "number", (json_int_t)run->number,
			   "exit", exit_code, "ended", (json_int_t)now.tv_sec,
			   (json_int_t)now.tv_nsec),
		 NULL);
}

void journal_tidy(struct sandbox *sb)
{
	if (is_mostly_old(sb))
		journal_begin(sb);
}

void journal_stdin(struct feed *feed, const void *data, size_t len)
{
	const struct run *run = feed->run;
	uint8_t number[4];
	struct cursor c = cursor_into(number, sizeof(number));
	const struct iovec parts[] = {part(number, sizeof(number)), part(data, len)};

	if (!feed->ahead_of &&
	    (!run || !run->sandbox || run->state == RUN_WRITING || run->state == RUN_ENDED))
		return;
	cursor_put_u32(&c, feed->ahead_of ? JOURNAL_AHEAD : run->number);
	put(feed->ahead_of ? feed->ahead_of : run->sandbox, JOURNAL_STDIN, parts, 2);
}

static void put_ahead(struct sandbox *sb, bool awaited, bool gone)
{
	put_json(sb, JOURNAL_FLAGS,
		 json_pack("{s:i, s:b, s:b}", "number", JOURNAL_AHEAD, "awaited", awaited,
			   "gone", gone),
		 NULL);
}

void journal_feed(struct feed *feed)
{
	if (feed->ahead_of)
		put_ahead(feed->ahead_of, is_awaited(feed), false);
	else if (feed->run)
		journal_flags(feed->run);
}

void journal_feed_gone(struct feed *feed)
{
	if (feed->ahead_of)
		put_ahead(feed->ahead_of, false, true);
	guest_stdin_settled(feed);
}

void journal_terminal(const struct terminal *t)
{
	const char *text = t->command ? t->command : "";
	struct buf command = {0};

	if (t->sandbox->journal_fd < 0)
		return;
	if (buf_append(&command, text, strlen(text)) < 0)
		give_up(t->sandbox, ENOMEM);
	else
		put_json(t->sandbox, JOURNAL_TERMINAL,
			 json_pack("{s:I, s:s, s:i, s:i, s:b, s:b, s:b}", "number",
				   (json_int_t)t->number, "name", t->name, "rows",
				   (int)t->size.rows, "cols", (int)t->size.cols, "wanted",
				   t->wanted, "removed", t->removed, "command",
				   t->command != NULL),
			 &command);
	buf_fini(&command);
}

void journal_keys(const struct terminal *t, const void *data, size_t len)
{
	uint8_t number[4];
	struct cursor c = cursor_into(number, sizeof(number));
	const struct iovec parts[] = {part(number, sizeof(number)), part(data, len)};

	cursor_put_u32(&c, t->number);
	put(t->sandbox, JOURNAL_KEYS, parts, 2);
}

void journal_net_log(struct sandbox *sb, uint64_t from)
{
	const struct stream *lines = &sb->net.log.lines;
	uint8_t piece[65536];
	ssize_t n;

	while (sb->journal_fd >= 0 &&
	       (n = stream_read(lines, from, piece, sizeof(piece))) > 0) {
		const struct iovec parts[] = {part(piece, (size_t)n)};

		put(sb, JOURNAL_NET_LOG, parts, 1);
		from += (uint64_t)n;
	}
	journal_tidy(sb);
}

void journal_heard(struct sandbox *sb, const struct agent_frame *frame)
{
	const struct iovec parts[] = {
	    part(frame->payload - AGENT_HEADER, agent_frame_size(frame))};

	put(sb, JOURNAL_HEARD, parts, 1);
}

void journal_said(struct sandbox *sb, size_t from)
{
	const struct buf *out = &sb->channel.out;
	uint8_t place[8];
	struct cursor c = cursor_into(place, sizeof(place));
	const struct iovec parts[] = {part(place, sizeof(place)),
				      part(buf_peek(out) + from, out->len - from)};

	if (sb->journal_fd < 0 || out->len == from)
		return;
	cursor_put_u64(&c, vmm_position(&sb->channel));
	sb->said_ns = io_monotonic_ns();
	put(sb, JOURNAL_SAID, parts, 2);
}
