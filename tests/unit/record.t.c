/*
 * What pffs keeps of a frozen sandbox: it comes back as it was, or not at all.
 */
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/record_format.h"
#include "pffs/core/terminal.h"
#include "tests/unit/world.h"

#define ROUNDS 200

static char data[] = "/tmp/pffs-record-data-XXXXXX",
	    json[] = "/tmp/pffs-record-json-XXXXXX",
	    spoilt[] = "/tmp/pffs-record-spoilt-XXXXXX";

static char *text_of(const struct stream *s)
{
	char *text = calloc(1, s->size + 1);

	stream_read(s, 0, text, s->size);
	return text;
}

static void is_stream(const struct stream *s, const char *want, const char *name)
{
	char *text = text_of(s);

	is_str(text, want, "%s", name);
	free(text);
}

static struct sandbox *make(void)
{
	struct error err;
	struct sandbox *sb = sandbox_new(&core, FOLDER_ROOT, "demo", 0, 7, 8, &err);
	struct terminal *t = terminal_new(sb, "t", &err);
	struct run *run;

	t->wanted = t->started = true;
	t->kept = t->screen.size = 100;
	t->window = 1000;
	t->size.cols = 99;
	stream_append(&t->screen, "shown", 5);
	stream_append(&t->keys, "typed", 5);
	run = sandbox_begin_run(sb, AGENT_PYTHON, &err);
	run_write(run, "#!/bin/sh\n1", 11);
	run_complete(run);
	run_output(run, RUN_STDOUT, "out\n", 4);
	run_output(run, RUN_STDERR, "err\n", 4);
	run_figure(run, 1, "PNG", 3);
	run_end(run, 3);
	run = sandbox_begin_run(sb, AGENT_BASH, &err);
	run_write(run, "sleep", 5);
	run_complete(run);
	run->state = RUN_RUNNING;
	run->gone_ms = 1500;
	stream_append(&run->feed->bytes, "waits", 5);
	sb->current = run;
	sb->state = SANDBOX_STORED;
	sb->stored_bytes = 12345;
	sb->epoch = 3;
	sb->heard = 2;
	sb->mode = 0750;
	sb->resources.limit[RESOURCE_PIDS] = 40;
	sb->resources.told[RESOURCE_PIDS] = 30;
	sb->diff_paths = strdup("/root\n");
	buf_append(&sb->in, "half a fr", 9);
	return sb;
}

/* Return: the sandbox that is in the files, or NULL. */
static struct sandbox *restore(const char *from_json, const char *from_data)
{
	struct error err;
	json_t *record = record_read(from_json, &err);
	struct sandbox *sb = record ? record_restore(&core, record, from_data, &err) : NULL;

	json_decref(record);
	return sb;
}

static bool is_right(const struct sandbox *sb)
{
	const struct run *first = sandbox_run(sb, 1), *second = sandbox_run(sb, 2);

	const struct terminal *t = terminal_find(sb, "t");

	return t && t->screen.size == 105 && t->kept == 100 && t->keys.size == 5 &&
	       sb->stored_bytes == 12345 && sb->epoch == 3 && sb->in.len == 9 && first &&
	       second && first->exit_code == 3 && first->streams[RUN_OUTPUT].size == 8 &&
	       sb->current == second && second->feed->bytes.size == 5;
}

static void check_whole(void)
{
	struct sandbox *sb = restore(json, data);
	const struct run *first, *second;
	const struct terminal *t;
	char shown[8] = "";

	ok(sb && is_right(sb), "a sandbox comes back");
	if (!sb)
		return;
	first = sandbox_run(sb, 1);
	second = sandbox_run(sb, 2);
	is_str(sb->name, "demo", "with its name");
	is_str(sandbox_state_name(sb), "frozen", "frozen");
	is_int(sb->mode, 0750, "its mode");
	is_int((int)sb->uid * 10 + (int)sb->gid, 78, "its owner");
	is_str(sb->diff_paths, "/root\n", "its configuration");
	is_int((int)sb->resources.limit[RESOURCE_PIDS], 40, "its limits");
	is_int((int)sb->resources.told[RESOURCE_PIDS], 30, "and those its guest knows");
	is_int((int)sb->resources.size[RESOURCE_MEMORY_MIB], 128,
	       "the size of its machine");
	is_stream(&first->streams[RUN_STDOUT], "out\n", "what its runs put out");
	is_stream(&first->streams[RUN_STDERR], "err\n", "on either stream");
	is_stream(&first->code, "#!/bin/sh\n1", "their code");
	is_str(run_language(first), "/bin/sh", "their language");
	is_stream(&first->figures[0], "PNG", "their figures");
	is_str(run_state_name(second), "running", "the run that goes on");
	is_stream(&second->feed->bytes, "waits", "with what waits for it");
	is_int((int)second->gone_ms, 1500, "and its time");
	t = terminal_find(sb, "t");
	stream_read(&t->screen, t->kept, shown, sizeof(shown) - 1);
	is_str(shown, "shown", "what its terminals showed");
	is_stream(&t->keys, "typed", "and what was typed");
	ok(t->started && t->window == 1000 && t->size.cols == 99, "as they were");
	sandbox_let_go(sb);
}

static uint8_t *slurp(const char *path, size_t *len)
{
	return (uint8_t *)io_read_file(path, 1 << 20, len, NULL);
}

static void spill(const uint8_t *bytes, size_t len)
{
	FILE *f = fopen(spoilt, "w");

	fwrite(bytes, 1, len, f);
	fclose(f);
}

/* Return: whether a record one file of which is spoilt is refused, or right. */
static bool holds(bool of_data)
{
	struct sandbox *sb = restore(of_data ? json : spoilt, of_data ? spoilt : data);
	bool right = !sb || is_right(sb);

	if (sb)
		sandbox_let_go(sb);
	return right;
}

static void check_spoilt(const char *path, bool of_data)
{
	size_t len;
	uint8_t *bytes = slurp(path, &len);
	unsigned good_cuts = 0, good_flips = 0;

	srandom(5);
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t at = (size_t)random() % len;
		uint8_t bit = (uint8_t)(1u << random() % 8);

		spill(bytes, at);
		good_cuts += holds(of_data);
		bytes[at] ^= bit;
		spill(bytes, len);
		good_flips += holds(of_data);
		bytes[at] ^= bit;
	}
	is_int((int)good_cuts, ROUNDS, "one that was cut is refused");
	is_int((int)good_flips, ROUNDS, "one with a flipped bit, too");
	free(bytes);
}

int main(void)
{
	struct sandbox *sb;
	struct error err;

	begin_world();
	close(mkstemp(data));
	close(mkstemp(json));
	close(mkstemp(spoilt));
	sb = make();
	is_int(record_save(sb, data, json, &err), 0, "a sandbox is written");
	sandbox_let_go(sb);
	check_whole();
	check_spoilt(data, true);
	check_spoilt(json, false);
	sb = restore(json, data);
	is_int(freeze_begin(sb, &err), 0, "freezing a frozen one is nothing");
	freeze_use(sb);
	is_str(asked_for(), "thaw", "it is resumed when it is used");
	is_str(sandbox_state_name(sb), "starting", "and starts");
	answer_newest(",\"error\":\"damaged\",\"errno\":74");
	is_str(sandbox_state_name(sb), "frozen", "if it cannot be, it stays frozen");
	is_str(sb->error.text, "damaged", "and says why");
	unlink(data);
	unlink(json);
	unlink(spoilt);
	end_world();
	return done_testing();
}
