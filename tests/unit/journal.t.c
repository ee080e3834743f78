/*
 * A pffs that is killed: what its journal says is what was known, up to the last whole
 * entry; and the streams of a guest go on where they were.
 */
#include "pffs/core/record/journal.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/record/attach.h"
#include "pffs/core/record/record.h"
#include "pffs/core/record/record_format.h"
#include "pffs/core/terminal.h"
#include "tests/unit/world.h"
#include "util/cleanup.h"

#define ROUNDS	200
#define VM	9u
#define NOBODYS "sbx_00000000000000000000000000000000"

static char state[] = "/tmp/pffs-journal-XXXXXX";
static char id[SANDBOX_ID_LEN + 1];
static uint8_t *saved; /* the journal */
static size_t saved_len;

static char *live(void)
{
	return record_path(&core, id, RECORD_LIVE);
}

static void reply(const char *body)
{
	char text[512];

	asked_for();
	snprintf(text, sizeof(text), "{\"seq\":%d%s}",
		 (int)json_integer_value(json_object_get(asked, "seq")), body);
	send_control(text);
}

static bool has_text(const struct stream *s, const char *want, bool whole)
{
	char text[64] = "";
	ssize_t n = stream_read(s, 0, text, sizeof(text) - 1);

	return n >= 0 &&
	       (whole ? strcmp(text, want) == 0 : strncmp(text, want, (size_t)n) == 0);
}

/* A sandbox whose guest is awake. */
static struct sandbox *make_ready(const char *name, uid_t uid, gid_t gid)
{
	struct error err;
	struct sandbox *sb = sandbox_new(&core, FOLDER_ROOT, name, 0, uid, gid, &err);

	strcpy(id, sb->id);
	sb->epoch = sb->heard = epoch;
	sandbox_adopt_vm(sb, VM, 1, 60000);
	sb->state = SANDBOX_READY;
	loop_timer_cancel(&sb->limit);
	journal_begin(sb);
	return sb;
}

/* A run that has ended, one that goes on, and one that waits. */
static void live_on(void)
{
	struct error err;
	struct sandbox *sb = make_ready("demo", 7, 8);

	submit(sb, "one");
	say(VM, 1, AGENT_STDOUT, "out\n", 4);
	say_exit(VM, 1, 0, 3);
	submit(sb, "two");
	submit(sb, "three");
	say(VM, 2, AGENT_STDOUT, "ha", 2);
	say(VM, 2, AGENT_STDERR, "lf", 2);
	is_int(sandbox_rename(sb, FOLDER_ROOT, "other", &err), 0, "it lives for a while");
}

/* Keep the journal, and end what a kill would have ended. */
static void die(void)
{
	cleanup_free char *path = live();

	saved = (uint8_t *)io_read_file(path, 1 << 20, &saved_len, NULL);
	sandbox_destroy(sandbox_of_id(&core, id));
	ok(access(path, F_OK) < 0, "a sandbox that is removed has no journal");
}

static struct sandbox *restore(const uint8_t *bytes, size_t len)
{
	cleanup_free char *path = live();
	FILE *f = fopen(path, "w");
	struct sandbox *sb = NULL;
	struct error err;
	json_t *record;

	fwrite(bytes, 1, len, f);
	fclose(f);
	record = journal_read(path, &err);
	if (record)
		sb = journal_restore(&core, record, path, &err);
	json_decref(record);
	return sb;
}

static void check_whole(void)
{
	struct sandbox *sb = restore(saved, saved_len);
	const struct run *one = sb ? sandbox_run(sb, 1) : NULL;
	const struct run *two = sb ? sandbox_run(sb, 2) : NULL;
	const struct run *three = sb ? sandbox_run(sb, 3) : NULL;

	ok(one && two && three, "a sandbox comes back, with its runs");
	if (!one || !two || !three)
		return;
	is_str(sb->name, "other", "with the name that it had last");
	is_str(sandbox_state_name(sb), "starting", "it starts");
	is_int((int)sb->vm, VM, "with its machine");
	is_int((int)sb->position, 2 * AGENT_HEADER + 6 + 2 * AGENT_HEADER + 4,
	       "heard so far");
	is_int(one->exit_code, 3, "a run has ended");
	ok(has_text(&one->streams[RUN_STDOUT], "out\n", true), "with its output");
	is_str(run_state_name(two), "running", "the next one goes on");
	ok(sb->current == two && has_text(&two->streams[RUN_OUTPUT], "half", true),
	   "with what it has put out");
	is_str(run_state_name(three), "queued", "and one waits");
	ok(has_text(&three->code, "three", true), "with its code");
	sandbox_let_go(sb);
}

static bool is_past(const struct sandbox *sb)
{
	const struct run *one = sandbox_run(sb, 1), *two = sandbox_run(sb, 2);

	return (!two || (one && one->state == RUN_ENDED && one->exit_code == 3)) &&
	       (!one || has_text(&one->streams[RUN_STDOUT], "out\n", false)) &&
	       (!two || has_text(&two->streams[RUN_OUTPUT], "half", false));
}

static bool holds(size_t len)
{
	struct sandbox *sb = restore(saved, len);
	bool right = !sb || is_past(sb);

	if (sb)
		sandbox_let_go(sb);
	return right;
}

static void check_spoilt(void)
{
	unsigned good_cuts = 0, good_flips = 0;

	srandom(7);
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t at = (size_t)random() % saved_len;
		uint8_t bit = (uint8_t)(1u << random() % 8);

		good_cuts += holds(at);
		saved[at] ^= bit;
		good_flips += holds(saved_len);
		saved[at] ^= bit;
	}
	is_int((int)good_cuts, ROUNDS, "one that was cut is refused, or what was once");
	is_int((int)good_flips, ROUNDS, "one with a flipped bit, too");
}

static void done(void *ctx, const struct error *err)
{
	*(bool *)ctx = !err;
}

/* Each sandbox that went before has had its machine destroyed. */
static void hear_all(void)
{
	do {
		asked_for();
		spin(SPIN_MS);
	} while (core.vmm.out.len);
}

static void begin_attach(bool *finished)
{
	char body[256];

	attach_begin(&core, done, finished);
	hear_all();
	is_str(asked_for(), "list", "vmctl is asked for its machines");
	snprintf(body, sizeof(body),
		 ",\"more\":false,\"vms\":[{\"vm\":%u,\"group\":\"%s\"},"
		 "{\"vm\":33,\"group\":\"\"}]",
		 VM, core.group);
	reply(body);
}

/* The guest was sent @sent bytes of what it was told, and said more meanwhile. */
static void check_attach(unsigned sent, bool again)
{
	struct sandbox *sb = restore(saved, saved_len);
	uint32_t streams[8] = {0};
	bool finished = false;
	char body[128];

	hear_all();
	buf_fini(&channels[VM]);
	begin_attach(&finished);
	is_str(asked_for(), "attach", "a machine that a sandbox has is attached");
	is_int((int)json_integer_value(json_object_get(asked, "from")), (int)sb->position,
	       "from where it was heard");
	snprintf(body, sizeof(body), ",\"pid\":5,\"from\":%d,\"sent\":%u",
		 (int)sb->position, sent);
	reply(body);
	ok(finished && sb->pid == 5, "all is taken up");
	is_int(heard(VM, AGENT_RUN, streams), again,
	       again ? "a run that did not arrive is sent again" : "one that did is not");
	is_int((int)streams[0], again ? 2 : 0, "it, and no earlier one");
	say(VM, 2, AGENT_STDOUT, "!", 1);
	say(VM, 0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(sb), "starting", "a word of an earlier epoch is none");
	epoch++;
	say(VM, 0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(sb), "running", "the guest wakes");
	say_exit(VM, 2, 0, 0);
	ok(has_text(&sandbox_run(sb, 2)->streams[RUN_OUTPUT], "half!", true),
	   "its output goes on");
	is_int(heard(VM, AGENT_RUN, streams), 1, "and then the next run begins");
	epoch--;
	sandbox_let_go(sb);
}

/* Of the files that vmctl has of the group one is that of the sandbox. */
static void check_files(void)
{
	char body[256];

	is_str(asked_for(), "images", "vmctl is asked for its files, too");
	snprintf(body, sizeof(body),
		 ",\"group\":\"%s\",\"images\":[\"" NOBODYS "\",\"%s\"]", core.group, id);
	reply(body);
	is_str(asked_for(), "drop", "one of which there is no record goes");
	is_str(json_string_value(json_object_get(asked, "image")), NOBODYS, "and it alone");
}

static void check_lost(void)
{
	struct sandbox *sb = restore(saved, saved_len);
	bool finished = false;

	attach_begin(&core, done, &finished);
	hear_all();
	reply(",\"more\":false,\"vms\":[]");
	ok(finished, "there is none");
	check_files();
	is_str(sandbox_state_name(sb), "dead", "a sandbox without its machine is dead");
	is_int(sandbox_run(sb, 2)->exit_code, EXIT_KILLED, "and its runs have ended");
	sandbox_let_go(sb);
}

/* Leave a journal behind, as a kill would, and read it. */
static struct sandbox *live_again(struct sandbox *sb)
{
	cleanup_free char *path = live();
	uint8_t *bytes;
	size_t len;

	bytes = (uint8_t *)io_read_file(path, 16 << 20, &len, NULL);
	sandbox_let_go(sb);
	sb = restore(bytes, len);
	free(bytes);
	return sb;
}

static void write_ahead(struct sandbox *sb, const char *text)
{
	struct feed *feed = guest_stdin_open(sb);
	struct error err;

	guest_stdin_write(feed, text, strlen(text), &err);
	guest_stdin_close(feed);
}

static void check_ahead(void)
{
	struct error err;
	struct sandbox *sb = sandbox_new(&core, FOLDER_ROOT, "fed", 0, 0, 0, &err);
	struct run *run;

	strcpy(id, sb->id);
	sandbox_adopt_vm(sb, VM, 1, 60000);
	journal_begin(sb);
	write_ahead(sb, "one ");
	sb = live_again(sb);
	journal_begin(sb);
	write_ahead(sb, "two");
	run = sandbox_begin_run(sb, AGENT_BASH, &err);
	sb = live_again(sb);
	ok(!sandbox_newest(sb), "a run that was being written has gone");
	journal_begin(sb);
	run = submit(sb, "cat");
	ok(has_text(&run->feed->bytes, "one two", true) && !run->feed->awaited,
	   "what was written ahead is the stdin of the next");
	ok(!sb->ahead && !sb->next_feed, "and of no other");
	sb = live_again(sb);
	run = sandbox_newest(sb);
	ok(has_text(&run->feed->bytes, "one two", true), "also when that was queued");
	ok(!sb->ahead && !sb->next_feed, "once");
	journal_begin(sb);
	sandbox_end_run(sb, run, 0);
	write_ahead(sb, "three");
	sandbox_cancel_run(sandbox_begin_run(sb, AGENT_BASH, &err));
	sb = live_again(sb);
	ok(!sb->ahead && !sb->next_feed, "what a run that was given up had goes with it");
	sandbox_destroy(sb);
}

static uint32_t stream_of(const struct terminal *t)
{
	return AGENT_TERMINALS | t->guest_id;
}

static void shows(const struct terminal *t, const char *want, const char *name)
{
	char text[64] = "";

	stream_read(&t->screen, t->kept, text, sizeof(text) - 1);
	is_str(text, want, "%s", name);
}

static const struct terminal *make_terminal(struct sandbox *sb)
{
	struct error err;
	struct terminal *t = terminal_new(sb, "t", &err);

	terminal_set_command(t, "top", &err);
	terminal_set_size(t, (struct agent_size){.rows = 9, .cols = 99});
	terminal_start(t, &err);
	terminal_type(t, "keys", 4, &err);
	say(VM, stream_of(t), AGENT_STDOUT, "shown", 5);
	say(VM, stream_of(t), AGENT_STDIN_TAKEN, (uint8_t[]){3, 0, 0, 0}, 4);
	return t;
}

/* Its guest has had no byte of what the former pffs told it. */
static void go_on_with_nothing(struct sandbox *sb)
{
	bool finished = false;
	uint32_t streams[8];
	char body[128];

	hear_all();
	buf_fini(&channels[VM]);
	begin_attach(&finished);
	asked_for();
	snprintf(body, sizeof(body), ",\"pid\":5,\"from\":%d,\"sent\":0",
		 (int)sb->position);
	reply(body);
	is_int(heard(VM, AGENT_TERMINAL, streams), 1, "a start is told again");
	epoch++;
	say(VM, 0, AGENT_AWAKE, NULL, 0);
	epoch--;
}

static void check_terminals(void)
{
	struct error err;
	struct sandbox *sb = make_ready("tty", 0, 0);
	struct terminal *t;

	terminal_remove(terminal_new(sb, "gone", &err));
	make_terminal(sb);
	submit(sb, "a run");
	sb = live_again(sb);
	t = terminal_find(sb, "t");
	ok(t && !terminal_find(sb, "gone"), "terminals that there were are there");
	ok(t->wanted && t->started && t->sized && !t->ended, "they go on");
	ok(t->size.rows == 9 && t->size.cols == 99 && strcmp(t->command, "top") == 0,
	   "with their size and command");
	shows(t, "shown", "what they showed");
	is_int((int)t->window, (int)AGENT_STDIN_WINDOW - 1, "and what is owed to them");
	is_int((int)(t->keys.size - t->sent), 0, "keys that were sent are not typed again");
	go_on_with_nothing(sb);
	epoch++;
	say(VM, stream_of(t), AGENT_STDOUT, "more", 4);
	shows(t, "shownmore", "what it shows goes on");
	say_exit(VM, stream_of(t), 0, 3);
	epoch--;
	sb = live_again(sb);
	t = terminal_find(sb, "t");
	ok(t && t->ended && t->exit_code == 3, "one that has ended has ended");
	shows(t, "shownmore", "with what it showed");
	sandbox_destroy(sb);
}

/* A program that shows much does not fill the disk. */
static void check_flood(void)
{
	static uint8_t much[60000];
	struct error err;
	struct sandbox *sb = make_ready("flood", 0, 0);
	struct terminal *t;

	t = terminal_new(sb, "t", &err);
	terminal_start(t, &err);
	sb->typed_ns = 0; /* long ago */
	for (int i = 0; i < 400; i++) {
		const struct agent_frame frame = {
		    .type = AGENT_STDOUT,
		    .stream = stream_of(t),
		    .epoch = epoch,
		    .len = sizeof(much) - AGENT_HEADER,
		    .payload = much + AGENT_HEADER,
		};

		agent_put_header(much, epoch, frame.stream, frame.type, frame.len);
		terminals_frame(sb, &frame, &err);
	}
	ok(sb->journal_size < 10u << 20, "what was shown long ago is forgotten");
	sb = live_again(sb);
	t = terminal_find(sb, "t");
	ok(t && t->screen.size == 400 * (sizeof(much) - AGENT_HEADER) &&
	       t->screen.size - t->kept <= TERMINAL_KEPT + 65536,
	   "and what is kept is in its place");
	sandbox_destroy(sb);
}

/* Of a frozen sandbox the record alone is there, and is written anew. */
static void check_renewed(void)
{
	static const char paths[] = "/caf\xc3\xa9\n/\xff\x80\x01\n";
	struct error err;
	struct sandbox *sb = sandbox_new(&core, FOLDER_ROOT, "cold", 0, 0, 0, &err);
	cleanup_free char *json = record_path(&core, sb->id, ".json");
	cleanup_free char *data = record_path(&core, sb->id, ".data");
	json_t *record;

	sb->state = SANDBOX_STORED;
	sb->diff_paths = strdup("/old\n");
	is_int(record_save(sb, data, json, &err), 0, "a frozen one is written");
	free(sb->diff_paths);
	sb->diff_paths = strdup(paths);
	journal_facts(sb);
	sandbox_let_go(sb);
	record = record_read(json, &err);
	sb = record ? record_restore(&core, record, data, &err) : NULL;
	is_str(sb ? sb->diff_paths : "", paths, "its configuration is renewed");
	json_decref(record);
	if (sb)
		sandbox_let_go(sb);
	unlink(json);
	unlink(data);
}

int main(void)
{
	char lock[64];

	begin_world();
	if (!mkdtemp(state))
		return 1;
	core.options.state = state;
	record_open(&core);
	is_int((int)strlen(core.group), 32, "the state directory has a name");
	live_on();
	die();
	check_whole();
	check_spoilt();
	check_attach(0, true);
	check_attach(100000, false);
	check_lost();
	check_ahead();
	check_terminals();
	check_flood();
	check_renewed();
	free(saved);
	end_world();
	snprintf(lock, sizeof(lock), "%s/lock", state);
	unlink(lock);
	is_int(rmdir(state), 0, "nothing is left in the state directory");
	return done_testing();
}
