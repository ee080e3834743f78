#include "pffs/core/record/record_bytes.h"

#include "pffs/core/net/ports.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/terminal.h"
#include "pffs/core/twin.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void put(struct bytes *b, const void *data, size_t len)
{
	if (!b->error)
		b->error = io_pwrite_all(b->fd, data, len, b->at);
	if (!b->error && len)
		XXH3_64bits_update(b->hash, data, len);
	b->at += len;
}

/* Return: the number of bytes, which is what the record says of them. */
static json_t *put_text(struct bytes *b, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	put(b, text, len);
	return json_integer((json_int_t)len);
}

static json_t *put_stream(struct bytes *b, const struct stream *s, uint64_t from)
{
	uint64_t start = b->at;
	uint8_t piece[65536];
	ssize_t n;

	while ((n = stream_read(s, from, piece, sizeof(piece))) > 0) {
		put(b, piece, (size_t)n);
		from += (uint64_t)n;
	}
	if (n < 0 && !b->error)
		b->error = (int)n;
	return json_integer((json_int_t)(b->at - start));
}

static json_t *put_time(const struct timespec *at)
{
	return json_pack("[I, I]", (json_int_t)at->tv_sec, (json_int_t)at->tv_nsec);
}

static json_t *put_streams(struct bytes *b, const struct stream *streams, unsigned count)
{
	json_t *lengths = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(lengths, put_stream(b, &streams[i], 0));
	return lengths;
}

static json_t *put_feed(struct bytes *b, const struct feed *feed)
{
	return json_pack("{s:o, s:i, s:b, s:b}", "bytes",
			 put_stream(b, &feed->bytes, feed->sent), "window",
			 (int)feed->window, "ended", feed->ended, "awaited",
			 feed->writers || feed->awaited);
}

static json_t *put_run(struct bytes *b, const struct run *run)
{
	json_t *record = json_pack(
	    "{s:I, s:I, s:I, s:i, s:i, s:i, s:b, s:b, s:b, s:b, s:I, s:I}", "number",
	    (json_int_t)run->number, "guest_id", (json_int_t)run->guest_id, "order",
	    (json_int_t)run->queue_order, "state", (int)run->state, "language",
	    (int)run->language, "exit", run->exit_code, "timed_out", run->timed_out,
	    "killed", run->killed, "changes_due", run->changes_due, "changes_lost",
	    run->changes_lost, "gone_ms", (json_int_t)run->gone_ms, "figures_whole",
	    (json_int_t)run->figures_whole);

	json_object_set_new(record, "started_ns",
			    json_integer((json_int_t)run->started_ns));
	json_object_set_new(record, "timeout_ms",
			    json_integer((json_int_t)run->timeout_ms));
	json_object_set_new(record, "created", put_time(&run->created));
	json_object_set_new(record, "started", put_time(&run->started));
	json_object_set_new(record, "ended", put_time(&run->ended));
	json_object_set_new(record, "interpreter", put_text(b, run->interpreter));
	json_object_set_new(record, "code", put_stream(b, &run->code, 0));
	json_object_set_new(record, "streams", put_streams(b, run->streams, RUN_STREAMS));
	json_object_set_new(record, "figures",
			    put_streams(b, run->figures, run->figure_count));
	json_object_set_new(record, "stdin", put_feed(b, run->feed));
	return record;
}

static json_t *put_runs(struct bytes *b, const struct sandbox *sb)
{
	json_t *runs = json_array();
	const struct run *run;

	list_for_each (run, &sb->runs, struct run, link)
		if (run->state != RUN_WRITING)
			json_array_append_new(runs, put_run(b, run));
	return runs;
}

static json_t *put_terminal(struct bytes *b, const struct terminal *t)
{
	json_t *record = json_pack(
	    "{s:s, s:I, s:I, s:i, s:i, s:b, s:b, s:b, s:b, s:b, s:i, s:I, s:I}", "name",
	    t->name, "number", (json_int_t)t->number, "guest_id", (json_int_t)t->guest_id,
	    "rows", (int)t->size.rows, "cols", (int)t->size.cols, "wanted", t->wanted,
	    "started", t->started, "sized", t->sized, "removed", t->removed, "ended",
	    t->ended, "exit", t->exit_code, "window", (json_int_t)t->window, "kept",
	    (json_int_t)t->kept);

	json_object_set_new(record, "command", put_text(b, t->command));
	json_object_set_new(record, "screen", put_stream(b, &t->screen, t->kept));
	json_object_set_new(record, "keys", put_stream(b, &t->keys, t->sent));
	return record;
}

static json_t *put_terminals(struct bytes *b, const struct sandbox *sb)
{
	json_t *terminals = json_array();
	const struct terminal *t;

	list_for_each (t, &sb->terminals, struct terminal, link)
		json_array_append_new(terminals, put_terminal(b, t));
	return terminals;
}

/* Where its name belongs: "" the root, "sbx_..." the forks/ of a sandbox, "templates" those
 * of its template; or what it is that nobody sees. */
static const char *place_of(const struct sandbox *sb)
{
	const struct sandbox *parent = sandbox_of_folder(sb->core, sb->folder);

	if (parent)
		return parent->id;
	if (sb->folder == FOLDER_HIDDEN)
		return sb->twin ? RECORD_TWIN : RECORD_TEMPLATE;
	return sb->folder == FOLDER_ROOT ? "" : "templates";
}

static json_t *put_numbers(const uint32_t numbers[RESOURCE_COUNT])
{
	json_t *record = json_object();

	for (int i = 0; i < RESOURCE_COUNT; i++)
		json_object_set_new(record, resources_name(i), json_integer(numbers[i]));
	return record;
}

/* Any bytes, each as the character of its number: JSON has no others. */
static json_t *as_characters(const char *text)
{
	size_t len = text ? strlen(text) : 0, at = 0;
	cleanup_free char *utf8 = malloc(2 * len + 1);

	if (!utf8)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		uint8_t byte = (uint8_t)text[i];

		if (byte & 0x80)
			utf8[at++] = (char)(0xc0 | byte >> 6);
		utf8[at++] = (char)(byte & 0x80 ? 0x80 | (byte & 0x3f) : byte);
	}
	return json_stringn(utf8, at);
}

static void add_template(json_t *record, const struct template *template)
{
	json_object_set_new(record, "made_of", json_string(template->made_of));
	json_object_set_new(record, "made", put_time(&template->created));
}

static json_t *put_ports(const struct sandbox *sb)
{
	cleanup_free char *text = ports_text(sb);

	return json_string(text ? text : "");
}

json_t *record_facts(const struct sandbox *sb)
{
	json_t *record = json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:i, s:I, s:I, s:i, s:i, s:I, s:b, "
	    "s:I}",
	    "id", sb->id, "name", sb->name, "place", place_of(sb), "template",
	    sb->core->templates.list[sb->template].name, "parent", sb->parent_id,
	    "generation", (int)sb->generation, "uid", (json_int_t)sb->uid, "gid",
	    (json_int_t)sb->gid, "mode", (int)sb->mode, "last", (json_int_t)sb->last_number,
	    "fork_number", (json_int_t)sb->fork_number, "epoch", (int)sb->epoch, "heard",
	    (int)sb->heard, "exec_timeout_ms", (json_int_t)sb->exec_timeout_ms, "forked",
	    sb->base || sb->base_lost, "current",
	    (json_int_t)(sb->current ? sb->current->number : 0));

	json_object_set_new(record, "bytes_frozen",
			    json_integer((json_int_t)sb->stored_bytes));
	json_object_set_new(record, "created", put_time(&sb->created));
	json_object_set_new(record, "idle_timeout_ms",
			    json_integer((json_int_t)sb->limits.idle_ms));
	json_object_set_new(record, "max_lifetime_ms",
			    json_integer((json_int_t)sb->limits.life_ms));
	json_object_set_new(record, "persistent", json_boolean(sb->limits.persistent));
	json_object_set_new(record, "machine", put_numbers(sb->resources.size));
	json_object_set_new(record, "limits", put_numbers(sb->resources.limit));
	json_object_set_new(record, "limits_told", put_numbers(sb->resources.told));
	json_object_set_new(record, "last_terminal",
			    json_integer((json_int_t)sb->last_terminal));
	json_object_set_new(record, "net", net_record(sb));
	json_object_set_new(record, "state", json_integer(sb->state));
	json_object_set_new(record, "reason", json_string(sb->reason));
	json_object_set_new(record, "vm", json_integer((json_int_t)sb->vm));
	json_object_set_new(record, "paths", as_characters(sb->diff_paths));
	json_object_set_new(record, "ports", put_ports(sb));
	json_object_set_new(record, "base", json_string(sb->base ? twin_id(sb->base) : ""));
	if (sb->folder == FOLDER_HIDDEN && !sb->twin)
		add_template(record, &sb->core->templates.list[sb->template]);
	return record;
}

static json_t *put_sandbox(struct bytes *b, const struct sandbox *sb)
{
	json_t *record = record_facts(sb);

	json_object_set_new(record, "in", json_integer((json_int_t)sb->in.len));
	put(b, buf_peek(&sb->in), sb->in.len);
	json_object_set_new(record, "merge_report", put_text(b, sb->merge_report));
	json_object_set_new(record, "net_log",
			    put_stream(b, &sb->net.log.lines, sb->net.log.kept));
	json_object_set_new(record, "runs", put_runs(b, sb));
	json_object_set_new(record, "terminals", put_terminals(b, sb));
	if (sb->ahead)
		json_object_set_new(record, "ahead", put_feed(b, sb->ahead));
	json_object_set_new(record, "data_len", json_integer((json_int_t)b->at));
	json_object_set_new(record, "data_sum",
			    json_integer((json_int_t)XXH3_64bits_digest(b->hash)));
	return record;
}

/* Where the stream of its guest is: behind so many bytes; or in its very first frame, of
 * which a part came before the stream, when its machine was forked. */
static void put_position(json_t *record, const struct sandbox *sb)
{
	uint64_t at = journal_position(sb), come = sb->channel.received;
	uint64_t prefix = !at && sb->in.len > come ? sb->in.len - come : 0;

	json_object_set_new(record, "position", json_integer((json_int_t)at));
	json_object_set_new(record, "prefix", json_integer((json_int_t)prefix));
}

/* ID.live begins with a line of RECORD_LIVE_LEN bytes, the bytes, and the record. */
int record_begin(const struct sandbox *sb, const char *path, struct error *err)
{
	struct bytes b;
	json_t *record;
	char *text;
	char head[RECORD_HEAD_LEN + 64];
	size_t len = 0;
	int r = bytes_init(&b, path, O_RDWR | O_CREAT | O_TRUNC, RECORD_LIVE_LEN, err);

	if (r < 0)
		return r;
	record = put_sandbox(&b, sb);
	put_position(record, sb);
	text = json_dumps(record, JSON_COMPACT);
	json_decref(record);
	if (text)
		len = strlen(text);
	else
		b.error = -ENOMEM;
	snprintf(head, sizeof(head),
		 RECORD_LIVE_HEAD "%d %016" PRIx64 " %016zx %016" PRIx64 "\n",
		 RECORD_VERSION, b.at, len, text ? XXH3_64bits(text, len) : 0);
	if (!b.error)
		b.error = io_pwrite_all(b.fd, text, len, b.at);
	if (!b.error)
		b.error = io_pwrite_all(b.fd, head, RECORD_LIVE_LEN, 0);
	free(text);
	if (b.error)
		error_set(err, -b.error, "cannot write %s", path);
	else
		lseek(b.fd, 0, SEEK_END);
	XXH3_freeState(b.hash);
	if (!b.error)
		return b.fd;
	close(b.fd);
	return err->code;
}

int record_write_json(json_t *record, const char *path, struct error *err)
{
	cleanup_free char *text = json_dumps(record, JSON_COMPACT);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char head[RECORD_HEAD_LEN + 16];
	int len, r;

	json_decref(record);
	if (!text)
		return error_set(err, ENOMEM, "cannot describe a sandbox");
	if (fd < 0)
		return error_set(err, errno, "cannot write %s", path);
	len = snprintf(head, sizeof(head), RECORD_HEAD "%d %016" PRIx64 "\n",
		       RECORD_VERSION, XXH3_64bits(text, strlen(text)));
	r = io_write_all(fd, head, (size_t)len);
	if (!r)
		r = io_write_all(fd, text, strlen(text));
	if (!r && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? error_set(err, -r, "cannot write %s", path) : 0;
}

int record_save(const struct sandbox *sb, const char *data, const char *json,
		struct error *err)
{
	struct bytes b;
	json_t *record;
	int r = bytes_init(&b, data, O_RDWR | O_CREAT | O_TRUNC, 0, err);

	if (r < 0)
		return r;
	record = put_sandbox(&b, sb);
	r = b.error;
	if (!r && fsync(b.fd) < 0)
		r = -errno;
	bytes_fini(&b);
	if (!r)
		return record_write_json(record, json, err);
	json_decref(record);
	return error_set(err, -r, "cannot write %s", data);
}
