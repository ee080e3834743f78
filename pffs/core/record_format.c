#include "pffs/core/record_format.h"

#include "pffs/core/journal.h"
#include "pffs/core/terminal.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define VERSION	 2
#define HEAD	 "pffs sandbox "
#define HEAD_LEN 32
#define JSON_MAX (64u << 20)
#define LIVE	 "pffs live "
#define LIVE_LEN 63 /* of its first line */

/* The bytes of a record, on their way to ID.data or from it. */
struct bytes {
	int fd;
	uint64_t start, at;
	XXH3_state_t *hash;
	int error; /* the first that there was, negative; nothing happens after it */
};

static int bytes_init(struct bytes *b, const char *path, int flags, uint64_t start,
		      struct error *err)
{
	*b = (struct bytes){
	    .fd = open(path, flags | O_CLOEXEC, 0600), .start = start, .at = start};
	if (b->fd < 0)
		return error_set(err, errno, "cannot open %s", path);
	b->hash = XXH3_createState();
	if (!b->hash) {
		close(b->fd);
		return error_set(err, ENOMEM, "cannot use %s", path);
	}
	XXH3_64bits_reset(b->hash);
	return 0;
}

static void bytes_fini(struct bytes *b)
{
	XXH3_freeState(b->hash);
	close(b->fd);
}

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

/* Where its name belongs: "" the root, "sbx_..." the forks/ of a sandbox, "templates". */
static const char *place_of(const struct sandbox *sb)
{
	const struct sandbox *parent = sandbox_of_folder(sb->core, sb->folder);

	if (parent)
		return parent->id;
	return sb->folder == FOLDER_ROOT ? "" : "templates";
}

static json_t *put_numbers(const uint32_t numbers[RESOURCE_COUNT])
{
	json_t *record = json_object();

	for (int i = 0; i < RESOURCE_COUNT; i++)
		json_object_set_new(record, resources_name(i), json_integer(numbers[i]));
	return record;
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
	json_object_set_new(record, "state", json_integer(sb->state));
	json_object_set_new(record, "reason", json_string(sb->reason));
	json_object_set_new(record, "vm", json_integer((json_int_t)sb->vm));
	return record;
}

static json_t *put_sandbox(struct bytes *b, const struct sandbox *sb)
{
	json_t *record = record_facts(sb);

	json_object_set_new(record, "in", json_integer((json_int_t)sb->in.len));
	put(b, buf_peek(&sb->in), sb->in.len);
	json_object_set_new(record, "diff_paths", put_text(b, sb->diff_paths));
	json_object_set_new(record, "merge_report", put_text(b, sb->merge_report));
	json_object_set_new(record, "runs", put_runs(b, sb));
	json_object_set_new(record, "terminals", put_terminals(b, sb));
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

/* ID.live begins with a line of LIVE_LEN bytes, the bytes, and the record. */
int record_begin(const struct sandbox *sb, const char *path, struct error *err)
{
	struct bytes b;
	json_t *record;
	char *text;
	char head[HEAD_LEN + 64];
	size_t len = 0;
	int r = bytes_init(&b, path, O_RDWR | O_CREAT | O_TRUNC, LIVE_LEN, err);

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
	snprintf(head, sizeof(head), LIVE "%d %016" PRIx64 " %016zx %016" PRIx64 "\n",
		 VERSION, b.at, len, text ? XXH3_64bits(text, len) : 0);
	if (!b.error)
		b.error = io_pwrite_all(b.fd, text, len, b.at);
	if (!b.error)
		b.error = io_pwrite_all(b.fd, head, LIVE_LEN, 0);
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

/* The first line: version, where the record is, its length and its checksum. */
static bool read_live_head(int fd, uint64_t *at, uint64_t *len, uint64_t *sum)
{
	char head[LIVE_LEN + 1] = "", *end;

	if (fd < 0 || io_pread_all(fd, head, LIVE_LEN, 0) < 0 ||
	    strncmp(head, LIVE, strlen(LIVE)) != 0 ||
	    strtol(head + strlen(LIVE), &end, 10) != VERSION)
		return false;
	*at = strtoull(end, &end, 16);
	*len = strtoull(end, &end, 16);
	*sum = strtoull(end, &end, 16);
	return *end == '\n' && *len <= JSON_MAX;
}

json_t *record_read_live(const char *path, uint64_t *end, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	uint64_t at = 0, len = 0, sum = 0;
	json_t *record = NULL;

	if (read_live_head(fd, &at, &len, &sum))
		text = malloc(len + 1);
	if (text && io_pread_all(fd, text, len, at) == 0 && XXH3_64bits(text, len) == sum)
		record = json_loadb(text, len, 0, NULL);
	if (!record)
		error_say(err, EBADMSG, "%s is damaged: the sandbox is not listed", path);
	*end = at + len;
	return record;
}

static int write_json(json_t *record, const char *path, struct error *err)
{
	cleanup_free char *text = json_dumps(record, JSON_COMPACT);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char head[HEAD_LEN + 16];
	int len, r;

	json_decref(record);
	if (!text)
		return error_set(err, ENOMEM, "cannot describe a sandbox");
	if (fd < 0)
		return error_set(err, errno, "cannot write %s", path);
	len = snprintf(head, sizeof(head), HEAD "%d %016" PRIx64 "\n", VERSION,
		       XXH3_64bits(text, strlen(text)));
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
		return write_json(record, json, err);
	json_decref(record);
	return error_set(err, -r, "cannot write %s", data);
}

/* The first line. Return: what follows it, or NULL. */
static const char *read_head(const char *text, size_t len, long *version)
{
	char *end;
	uint64_t sum;

	if (strncmp(text, HEAD, strlen(HEAD)) != 0)
		return NULL;
	*version = strtol(text + strlen(HEAD), &end, 10);
	sum = strtoull(end, &end, 16);
	if (*end++ != '\n' || XXH3_64bits(end, len - (size_t)(end - text)) != sum)
		return NULL;
	return end;
}

json_t *record_read(const char *path, struct error *err)
{
	size_t len;
	cleanup_free char *text = io_read_file(path, JSON_MAX, &len, err);
	long version = VERSION;
	const char *body = text ? read_head(text, len, &version) : NULL;
	json_t *record = body && version == VERSION ? json_loads(body, 0, NULL) : NULL;

	if (text && version != VERSION)
		error_say(err, ENOTSUP, "%s is of another version of pffs", path);
	else if (text && !record)
		error_say(err, EBADMSG, "%s is damaged: the sandbox is not listed", path);
	return record;
}

static uint64_t number(const json_t *record, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(record, key));
}

static bool flag(const json_t *record, const char *key)
{
	return json_is_true(json_object_get(record, key));
}

static const char *text_of(const json_t *record, const char *key)
{
	const char *text = json_string_value(json_object_get(record, key));

	return text ? text : "";
}

static struct timespec time_of(const json_t *record, const char *key)
{
	const json_t *pair = json_object_get(record, key);

	return (struct timespec){
	    .tv_sec = (time_t)json_integer_value(json_array_get(pair, 0)),
	    .tv_nsec = (long)json_integer_value(json_array_get(pair, 1)),
	};
}

/* The next @len bytes to a buffer or a stream, of which one is NULL. */
static void get(struct bytes *b, uint64_t len, struct buf *to, struct stream *stream)
{
	uint8_t piece[65536];

	while (len && !b->error) {
		size_t n = len < sizeof(piece) ? (size_t)len : sizeof(piece);

		b->error = io_pread_all(b->fd, piece, n, b->at);
		if (!b->error)
			b->error =
			    to ? buf_append(to, piece, n) : stream_append(stream, piece, n);
		b->at += n;
		len -= n;
	}
}

/* Return: a string to free(), or NULL for an empty one. */
static char *get_text(struct bytes *b, uint64_t len)
{
	struct buf bytes = {0};
	char *text = NULL;

	get(b, len, &bytes, NULL);
	if (!b->error && len)
		text = strndup((const char *)buf_peek(&bytes), bytes.len);
	buf_fini(&bytes);
	return text;
}

static void get_streams(struct bytes *b, const json_t *lengths, struct stream *streams,
			unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		get(b, (uint64_t)json_integer_value(json_array_get(lengths, i)), NULL,
		    &streams[i]);
}

static void get_figures(struct bytes *b, const json_t *lengths, struct run *run)
{
	unsigned count = (unsigned)json_array_size(lengths);

	for (unsigned i = 0; i < count && !b->error; i++)
		b->error = run_add_figure(run);
	if (!b->error)
		get_streams(b, lengths, run->figures, count);
}

static void get_feed(struct bytes *b, const json_t *record, struct feed *feed)
{
	get(b, number(record, "bytes"), NULL, &feed->bytes);
	feed->window = (uint32_t)number(record, "window");
	feed->ended = flag(record, "ended");
	feed->awaited = flag(record, "awaited");
}

static void get_contents(struct bytes *b, const json_t *record, struct run *run)
{
	cleanup_free char *interpreter = get_text(b, number(record, "interpreter"));

	snprintf(run->interpreter, sizeof(run->interpreter), "%s",
		 interpreter ? interpreter : "");
	get(b, number(record, "code"), NULL, &run->code);
	get_streams(b, json_object_get(record, "streams"), run->streams, RUN_STREAMS);
	get_figures(b, json_object_get(record, "figures"), run);
	get_feed(b, json_object_get(record, "stdin"), run->feed);
}

static void get_run(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	struct feed *feed = feed_new();
	struct run *run = feed
			      ? run_new(sb, (enum agent_language)number(record, "language"),
					(uint32_t)number(record, "number"), feed)
			      : NULL;

	feed_unref(feed);
	if (!run) {
		b->error = -ENOMEM;
		return;
	}
	run->guest_id = (uint32_t)number(record, "guest_id");
	run->queue_order = number(record, "order");
	run->state = (enum run_state)number(record, "state");
	run->exit_code = (int)number(record, "exit");
	run->timed_out = flag(record, "timed_out");
	run->killed = flag(record, "killed");
	run->changes_due = flag(record, "changes_due");
	run->changes_lost = flag(record, "changes_lost");
	run->gone_ms = number(record, "gone_ms");
	run->figures_whole = (unsigned)number(record, "figures_whole");
	run->started_ns = number(record, "started_ns");
	run->created = time_of(record, "created");
	run->started = time_of(record, "started");
	run->ended = time_of(record, "ended");
	get_contents(b, record, run);
	run_seal(run);
	sandbox_add_run(sb, run);
	if (sb->core->next_order <= run->queue_order)
		sb->core->next_order = run->queue_order + 1;
}

static void get_runs(struct bytes *b, const json_t *runs, struct sandbox *sb)
{
	const json_t *each;
	size_t i;

	json_array_foreach(runs, i, each) if (!b->error) get_run(b, each, sb);
}

/* Without a record they stay as they are. */
static void get_numbers(const json_t *record, uint32_t numbers[RESOURCE_COUNT])
{
	for (int i = 0; i < RESOURCE_COUNT && record; i++)
		numbers[i] = (uint32_t)number(record, resources_name(i));
}

static void get_terminal(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	struct terminal *t =
	    terminal_add(sb, text_of(record, "name"), (uint32_t)number(record, "number"));

	if (!t) {
		b->error = -ENOMEM;
		return;
	}
	t->guest_id = (uint32_t)number(record, "guest_id");
	t->size.rows = (uint16_t)number(record, "rows");
	t->size.cols = (uint16_t)number(record, "cols");
	t->wanted = flag(record, "wanted");
	t->started = flag(record, "started");
	t->sized = flag(record, "sized");
	t->removed = flag(record, "removed");
	t->ended = flag(record, "ended");
	t->exit_code = (int)number(record, "exit");
	t->window = (uint32_t)number(record, "window");
	t->kept = t->screen.size = number(record, "kept");
	t->command = get_text(b, number(record, "command"));
	get(b, number(record, "screen"), NULL, &t->screen);
	get(b, number(record, "keys"), NULL, &t->keys);
}

static void get_terminals(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	const json_t *each;
	size_t i;

	json_array_foreach(json_object_get(record, "terminals"), i, each) if (!b->error)
	    get_terminal(b, each, sb);
	sb->last_terminal = (uint32_t)number(record, "last_terminal");
}

static void take_facts(struct sandbox *sb, const json_t *record)
{
	snprintf(sb->parent_id, sizeof(sb->parent_id), "%s", text_of(record, "parent"));
	sb->stored_bytes = number(record, "bytes_frozen");
	sb->generation = (unsigned)number(record, "generation");
	sb->mode = (mode_t)number(record, "mode") & 07777;
	sb->fork_number = (unsigned)number(record, "fork_number");
	sb->epoch = (uint16_t)number(record, "epoch");
	sb->heard = (uint16_t)number(record, "heard");
	sb->exec_timeout_ms = number(record, "exec_timeout_ms");
	sb->base_lost = flag(record, "forked");
	sb->created = sb->changed = time_of(record, "created");
	limits_restore(sb, number(record, "idle_timeout_ms"),
		       number(record, "max_lifetime_ms"), flag(record, "persistent"));
	get_numbers(json_object_get(record, "machine"), sb->resources.size);
	get_numbers(json_object_get(record, "limits"), sb->resources.limit);
	get_numbers(json_object_get(record, "limits_told"), sb->resources.told);
}

static void get_sandbox(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	snprintf(sb->id, sizeof(sb->id), "%s", text_of(record, "id"));
	sb->state = SANDBOX_STORED;
	take_facts(sb, record);
	get(b, number(record, "in"), &sb->in, NULL);
	sb->diff_paths = get_text(b, number(record, "diff_paths"));
	sb->merge_report = get_text(b, number(record, "merge_report"));
	get_runs(b, json_object_get(record, "runs"), sb);
	get_terminals(b, record, sb);
	sb->last_number = (uint32_t)number(record, "last");
	if (number(record, "current"))
		sb->current = sandbox_run(sb, (uint32_t)number(record, "current"));
}

/* What is in the file is what was written. Then it is read again. */
static int check_data(struct bytes *b, const json_t *record)
{
	uint64_t len = number(record, "data_len");
	uint8_t piece[65536];

	while (b->at < len && !b->error) {
		uint64_t left = len - b->at;
		size_t n = left < sizeof(piece) ? (size_t)left : sizeof(piece);

		b->error = io_pread_all(b->fd, piece, n, b->at);
		if (!b->error)
			XXH3_64bits_update(b->hash, piece, n);
		b->at += n;
	}
	b->at = b->start;
	if (!b->error && XXH3_64bits_digest(b->hash) != number(record, "data_sum"))
		b->error = -EBADMSG;
	return b->error;
}

/* A template that is not there any more is known by its name all the same. */
static int find_template(struct templates *t, const char *name)
{
	int index = templates_find(t, name);

	if (index >= 0)
		return index;
	index = templates_add(t, name);
	if (index >= 0)
		templates_remove(t, (size_t)index);
	return index;
}

/* A fork of a sandbox that is no more goes to the root. */
static folder_t find_folder(const struct core *core, const json_t *record, size_t template)
{
	const char *place = text_of(record, "place");
	const struct sandbox *parent = sandbox_by_id((struct core *)core, place);

	if (parent)
		return FOLDER_FORKS(parent->serial);
	return strcmp(place, "templates") == 0 && templates_has(&core->templates, template)
		   ? FOLDER_TEMPLATE(template)
		   : FOLDER_ROOT;
}

static void find_name(struct core *core, const json_t *record, folder_t folder,
		      char name[SANDBOX_NAME_MAX + 1])
{
	const char *wanted = text_of(record, "name");
	struct error ignored;

	snprintf(name, SANDBOX_NAME_MAX + 1, "%s", wanted);
	if (sandbox_check_name(core, folder, name, &ignored) < 0)
		snprintf(name, SANDBOX_NAME_MAX + 1, "%.40s-%.12s", wanted,
			 text_of(record, "id") + 4);
}

static struct sandbox *make(struct core *core, const json_t *record, struct error *err)
{
	int template = find_template(&core->templates, text_of(record, "template"));
	char name[SANDBOX_NAME_MAX + 1];
	struct sandbox *sb;
	folder_t folder;

	if (template <0) {
		error_set(err, -template, "cannot restore a sandbox");
		return NULL;
	}
	folder = find_folder(core, record, (size_t) template);
	find_name(core, record, folder, name);
	sb = sandbox_new(core, folder, name, (size_t) template,
			 (uid_t)number(record, "uid"), (gid_t)number(record, "gid"), err);
	if (!sb)
		return NULL;
	templates_image_changed(&core->templates, (size_t) template);
	sb->image = core->templates.list[template].image;
	return sb;
}

static struct sandbox *restore(struct core *core, const json_t *record, const char *data,
			       uint64_t start, struct error *err)
{
	struct sandbox *sb;
	struct bytes b;
	int r = bytes_init(&b, data, O_RDONLY, start, err);

	if (r < 0)
		return NULL;
	if (check_data(&b, record) < 0) {
		error_set(err, -b.error, "%s is damaged: the sandbox is not listed", data);
		bytes_fini(&b);
		return NULL;
	}
	sb = make(core, record, err);
	if (sb)
		get_sandbox(&b, record, sb);
	r = b.error;
	bytes_fini(&b);
	if (!sb || !r)
		return sb;
	error_set(err, -r, "cannot restore %s", sb->name);
	sandbox_let_go(sb);
	return NULL;
}

struct sandbox *record_restore(struct core *core, const json_t *record, const char *data,
			       struct error *err)
{
	return restore(core, record, data, 0, err);
}

struct sandbox *record_restore_live(struct core *core, const json_t *record,
				    const char *path, struct error *err)
{
	return restore(core, record, path, LIVE_LEN, err);
}
