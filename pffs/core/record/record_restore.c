#include "pffs/core/record/record_bytes.h"

#include "pffs/core/guest/guest.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/record/record_format.h"
#include "pffs/core/record/record_json.h"
#include "pffs/core/template.h"
#include "pffs/core/terminal.h"
#include "pffs/core/twin.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static bool is_in(const json_t *record, const char *place)
{
	return strcmp(record_text(record, "place"), place) == 0;
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
	get(b, record_number(record, "bytes"), NULL, &feed->bytes);
	feed->window = (uint32_t)record_number(record, "window");
	feed->ended = record_flag(record, "ended");
	feed->awaited = record_flag(record, "awaited");
}

static void get_contents(struct bytes *b, const json_t *record, struct run *run)
{
	cleanup_free char *interpreter = get_text(b, record_number(record, "interpreter"));

	snprintf(run->interpreter, sizeof(run->interpreter), "%s",
		 interpreter ? interpreter : "");
	get(b, record_number(record, "code"), NULL, &run->code);
	get_streams(b, json_object_get(record, "streams"), run->streams, RUN_STREAMS);
	get_figures(b, json_object_get(record, "figures"), run);
	get_feed(b, json_object_get(record, "stdin"), run->feed);
}

static void get_run(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	struct feed *feed = feed_new();
	struct run *run =
	    feed ? run_new(sb, (enum agent_language)record_number(record, "language"),
			   (uint32_t)record_number(record, "number"), feed)
		 : NULL;

	feed_unref(feed);
	if (!run) {
		b->error = -ENOMEM;
		return;
	}
	run->guest_id = (uint32_t)record_number(record, "guest_id");
	run->queue_order = record_number(record, "order");
	run->state = (enum run_state)record_number(record, "state");
	run->exit_code = (int)record_number(record, "exit");
	run->timed_out = record_flag(record, "timed_out");
	run->killed = record_flag(record, "killed");
	run->changes_due = record_flag(record, "changes_due");
	run->changes_lost = record_flag(record, "changes_lost");
	run->gone_ms = record_number(record, "gone_ms");
	run->timeout_ms = record_number(record, "timeout_ms");
	run->figures_whole = (unsigned)record_number(record, "figures_whole");
	run->started_ns = record_number(record, "started_ns");
	run->created = record_time(record, "created");
	run->started = record_time(record, "started");
	run->ended = record_time(record, "ended");
	get_contents(b, record, run);
	run_seal(run);
	sandbox_restore_run(sb, run);
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
		numbers[i] = (uint32_t)record_number(record, resources_name(i));
}

static void get_terminal(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	struct terminal *t = terminal_add(sb, record_text(record, "name"),
					  (uint32_t)record_number(record, "number"));

	if (!t) {
		b->error = -ENOMEM;
		return;
	}
	t->guest_id = (uint32_t)record_number(record, "guest_id");
	t->size.rows = (uint16_t)record_number(record, "rows");
	t->size.cols = (uint16_t)record_number(record, "cols");
	t->wanted = record_flag(record, "wanted");
	t->started = record_flag(record, "started");
	t->sized = record_flag(record, "sized");
	t->removed = record_flag(record, "removed");
	t->ended = record_flag(record, "ended");
	t->exit_code = (int)record_number(record, "exit");
	t->window = (uint32_t)record_number(record, "window");
	t->kept = t->screen.size = record_number(record, "kept");
	t->command = get_text(b, record_number(record, "command"));
	get(b, record_number(record, "screen"), NULL, &t->screen);
	get(b, record_number(record, "keys"), NULL, &t->keys);
}

static void get_terminals(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	const json_t *each;
	size_t i;

	json_array_foreach(json_object_get(record, "terminals"), i, each) if (!b->error)
	    get_terminal(b, each, sb);
	sb->last_terminal = (uint32_t)record_number(record, "last_terminal");
}

/* What was written to stdin before its run was there. */
static void get_ahead(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	struct feed *feed = record ? guest_stdin_next(sb) : NULL;

	if (feed)
		get_feed(b, record, feed);
	else if (record)
		b->error = -ENOMEM;
}

static void take_facts(struct sandbox *sb, const json_t *record)
{
	snprintf(sb->parent_id, sizeof(sb->parent_id), "%s", record_text(record, "parent"));
	sb->stored_bytes = record_number(record, "bytes_frozen");
	sb->generation = (unsigned)record_number(record, "generation");
	sb->mode = (mode_t)record_number(record, "mode") & 07777;
	sb->fork_number = (unsigned)record_number(record, "fork_number");
	sb->epoch = (uint16_t)record_number(record, "epoch");
	sb->heard = (uint16_t)record_number(record, "heard");
	sb->exec_timeout_ms = record_number(record, "exec_timeout_ms");
	sb->base_lost = record_flag(record, "forked");
	sb->created = sb->changed = record_time(record, "created");
	ports_restore(sb, record_text(record, "ports"));
	twin_restore(sb, record_text(record, "base"));
	limits_restore(sb, record_number(record, "idle_timeout_ms"),
		       record_number(record, "max_lifetime_ms"),
		       record_flag(record, "persistent"));
	net_restore(sb, json_object_get(record, "net"));
	get_numbers(json_object_get(record, "machine"), sb->resources.size);
	get_numbers(json_object_get(record, "limits"), sb->resources.limit);
	get_numbers(json_object_get(record, "limits_told"), sb->resources.told);
}

/* The bytes that have the numbers of these characters. Return: as get_text(). */
static char *bytes_of(const char *utf8)
{
	char *text = *utf8 ? calloc(1, strlen(utf8) + 1) : NULL, *at = text;

	for (; text && *utf8; utf8++) {
		*at = *utf8;
		if ((*utf8 & 0xc0) == 0xc0 && utf8[1]) {
			utf8++;
			*at = (char)((*at & 3) << 6 | (*utf8 & 0x3f));
		}
		at++;
	}
	return text;
}

/* They were among the bytes once, where they could not be changed. */
static void get_paths(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	sb->diff_paths = get_text(b, record_number(record, "diff_paths"));
	if (!json_object_get(record, "paths"))
		return;
	free(sb->diff_paths);
	sb->diff_paths = bytes_of(record_text(record, "paths"));
}

static void get_sandbox(struct bytes *b, const json_t *record, struct sandbox *sb)
{
	snprintf(sb->id, sizeof(sb->id), "%s", record_text(record, "id"));
	sb->state = SANDBOX_STORED;
	take_facts(sb, record);
	get(b, record_number(record, "in"), &sb->in, NULL);
	get_paths(b, record, sb);
	sb->merge_report = get_text(b, record_number(record, "merge_report"));
	get(b, record_number(record, "net_log"), NULL, &sb->net.log.lines);
	get_runs(b, json_object_get(record, "runs"), sb);
	get_terminals(b, record, sb);
	get_ahead(b, json_object_get(record, "ahead"), sb);
	sb->last_number = (uint32_t)record_number(record, "last");
	if (record_number(record, "current"))
		sb->current = sandbox_run(sb, (uint32_t)record_number(record, "current"));
}

/* One that nobody sees is there for a reason. */
static void get_purpose(const json_t *record, struct sandbox *sb)
{
	const struct timespec made = record_time(record, "made");

	if (is_in(record, RECORD_TWIN))
		twin_restored(sb);
	else if (is_in(record, RECORD_TEMPLATE))
		template_restored(sb, record_text(record, "made_of"), &made);
}

/* What is in the file is what was written. Then it is read again. */
static int check_data(struct bytes *b, const json_t *record)
{
	uint64_t len = record_number(record, "data_len");
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
	if (!b->error && XXH3_64bits_digest(b->hash) != record_number(record, "data_sum"))
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
	const char *place = record_text(record, "place");
	const struct sandbox *parent = sandbox_by_id((struct core *)core, place);

	if (parent)
		return FOLDER_FORKS(parent->serial);
	if (is_in(record, RECORD_TWIN) || is_in(record, RECORD_TEMPLATE))
		return FOLDER_HIDDEN;
	return strcmp(place, "templates") == 0 && templates_has(&core->templates, template)
		   ? FOLDER_TEMPLATE(template)
		   : FOLDER_ROOT;
}

static void find_name(struct core *core, const json_t *record, folder_t folder,
		      char name[SANDBOX_NAME_MAX + 1])
{
	const char *wanted = record_text(record, "name");
	struct error ignored;

	snprintf(name, SANDBOX_NAME_MAX + 1, "%s", wanted);
	if (folder != FOLDER_HIDDEN && sandbox_check_name(core, folder, name, &ignored) < 0)
		snprintf(name, SANDBOX_NAME_MAX + 1, "%.40s-%.12s", wanted,
			 record_text(record, "id") + 4);
}

static struct sandbox *make(struct core *core, const json_t *record, struct error *err)
{
	const char *of = record_text(record, "template");
	int template = is_in(record, RECORD_TEMPLATE) ? template_restore(core, of, err)
						      : find_template(&core->templates, of);
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
			 (uid_t)record_number(record, "uid"),
			 (gid_t)record_number(record, "gid"), err);
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
	if (sb && !r)
		get_purpose(record, sb);
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
	return restore(core, record, path, RECORD_LIVE_LEN, err);
}
