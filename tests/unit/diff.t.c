/*
 * Comparisons of sandboxes whose guests this test plays: what becomes of the machines
 * that they need, of what was asked when nobody wants to know any more, of images that
 * are built again, and of a machine that is another one before all is told.
 */
#include "tests/unit/forks.h"
#include "tests/unit/put_reply.h"

#include "pffs/core/diff/diff.h"
#include "pffs/core/merge/merge.h"
#include "pffs/core/twin.h"
#include "wire/files.h"
#include "wire/picks.h"
#include "wire/tree.h"

#include <sys/time.h>

static struct {
	int count, code;
	char text[512];
} ended;

static void have(void *ctx, char *text, size_t len, const struct error *err)
{
	(void)ctx;
	(void)len;
	ended.count++;
	ended.code = err ? err->code : 0;
	snprintf(ended.text, sizeof(ended.text), "%s", err ? err->text : text);
	free(text);
}

static struct diff *compare(struct sandbox *from, enum diff_of from_of, struct sandbox *to)
{
	const struct diff_order order = {.from = from, .from_of = from_of, .to = to};
	struct diff *diff;

	ended.count = 0;
	diff = diff_begin(&order, have, NULL);
	spin(20);
	return diff;
}

static void answer_plain(void)
{
	char text[64];

	snprintf(text, sizeof(text), "{\"seq\":%d}",
		 (int)json_integer_value(json_object_get(asked, "seq")));
	send_control(text);
}

/* All requests about files that @vm has been sent are answered. */
static void answer_files(unsigned vm, uint16_t of_epoch, const struct files_reply *reply)
{
	uint32_t streams[8];
	int count = heard(vm, AGENT_FILES, streams);
	struct buf out = {0};

	epoch = of_epoch;
	for (int i = 0; i < count; i++) {
		put_reply(&out, of_epoch, streams[i], reply);
		say(vm, streams[i], AGENT_FILES_REPLY, buf_peek(&out) + AGENT_HEADER,
		    out.len - AGENT_HEADER);
		buf_fini(&out);
	}
	epoch = 1;
}

/* The lists of the files of @vm are empty. */
static void answer_trees(unsigned vm, uint16_t of_epoch)
{
	answer_files(vm, of_epoch, &(struct files_reply){.handle = 1, .watch = -1});
	answer_files(vm, of_epoch, &(struct files_reply){.watch = -1});
}

static struct sandbox *fork_one(struct sandbox *demo, const char *name, unsigned vm)
{
	order(demo, NULL, 1);
	listen_to_core();
	answer_vms(vm, 1);
	awake(vm, 2);
	return child(demo, name);
}

static void it_is_asked_of_the_fork_point(struct sandbox *x)
{
	unsigned twin = FIRST_TWIN + twins - 1;

	compare(x, DIFF_FORK_POINT, x);
	is_str(asked_for(), "resume", "who wants to know wakes the fork point");
	answer_plain();
	say(twin, 0, AGENT_READY, NULL, 0);
	listen_to_core();
	is_str(asked_for(), "resume", "which may not say that it has booted");
	awake(twin, 2);
	answer_trees(twin, 2);
	answer_trees(6, 2);
	is_int(ended.count, 1, "the comparison comes to its end");
	is_str(ended.text, "", "without a difference");
	spin(1100);
	is_str(asked_for(), "park", "and the fork point is parked");
	answer_plain();
}

static void a_fork_that_goes_lets_go(struct sandbox *x)
{
	unsigned twin = FIRST_TWIN + twins - 1;

	compare(x, DIFF_FORK_POINT, x);
	is_str(asked_for(), "resume", "it runs again");
	sandbox_destroy(x);
	is_int(ended.count, 1, "a fork is removed meanwhile");
	is_int(ended.code, -EIO, "which ends the comparison");
	answer_plain();
	is_str(asked_for(), "destroy", "and its machines");
	is_int(json_integer_value(json_object_get(asked, "vm")), twin,
	       "that of the fork point, too");
}

static void what_nobody_wants_is_cancelled(struct sandbox *demo, struct sandbox *x)
{
	struct diff *diff = compare(x, DIFF_NOW, demo);
	uint32_t streams[8];

	ok(diff, "a comparison goes on");
	diff_cancel(diff);
	spin(20);
	is_int(ended.count, 0, "nobody wants it");
	is_int(heard(7, AGENT_FILES_CANCEL, streams), 1, "what was asked of one");
	is_int(heard(PARENT, AGENT_FILES_CANCEL, streams), 1, "and of the other is not");
}

static void a_template_shows_its_files(struct sandbox *demo)
{
	compare(demo, DIFF_FORK_POINT, demo);
	is_str(asked_for(), "fork", "a template's files are those of a fork of it");
	answer_vms(8, 1);
	awake(8, 1);
	answer_trees(8, 1);
	answer_trees(PARENT, 1);
	is_int(ended.count, 1, "that answers");
	is_str(ended.text, "", "and has not changed any");
}

/* An encoded tree of that many files. */
static struct buf many_files(unsigned count)
{
	struct tree_entry entry = {.now = {.mode = S_IFREG | 0644, .nlink = 1, .size = 1}};
	struct buf bytes = {0};
	char path[32];

	entry.path = path;
	for (unsigned i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "d/%u", i * 7919 % count);
		entry.now.ino = i + 1;
		tree_put(&bytes, &entry);
	}
	return bytes;
}

static void answer_tree(unsigned vm, uint16_t of_epoch, const struct buf *bytes)
{
	struct files_reply reply = {.watch = -1};
	size_t at = 0;

	answer_files(vm, of_epoch, &(struct files_reply){.handle = 1, .watch = -1});
	do {
		reply.data = buf_peek(bytes) + at;
		reply.data_len = (uint32_t)(bytes->len - at < FILES_IO_MAX ? bytes->len - at
									   : FILES_IO_MAX);
		at += reply.data_len;
		answer_files(vm, of_epoch, &reply);
	} while (reply.data_len == FILES_IO_MAX);
}

/* What there is to do for them would keep the mount waiting: a thread does it. */
static void large_trees_are_for_a_thread(struct sandbox *demo, struct sandbox *x)
{
	struct buf bytes = many_files(60000);
	struct diff *diff;

	compare(x, DIFF_NOW, demo);
	answer_tree(7, 2, &bytes);
	answer_trees(PARENT, 1);
	for (int i = 0; i < 1000 && !ended.count; i++)
		spin(20);
	is_int(ended.count, 1, "60,000 files are compared with none");
	is_int(strncmp(ended.text, "D d/0\nD d/1\nD d/10\n", 18), 0, "in order");

	diff = compare(x, DIFF_NOW, demo);
	answer_tree(7, 2, &bytes);
	diff_cancel(diff);
	spin(500);
	is_int(ended.count, 0, "nobody wants that any more");
	bytes.data[bytes.head] = 0xff;
	compare(x, DIFF_NOW, demo);
	answer_tree(7, 2, &bytes);
	for (int i = 0; i < 1000 && !ended.count; i++)
		spin(20);
	is_int(ended.code, -EPROTO, "what is no tree is found out there, too");
	buf_fini(&bytes);
}

/* What @vm has been asked about files, as text: M a moment, S since one, T the tree, t of
 * picks, R a read, c a handle that is closed. The stream of the last is kept. */
static uint32_t asked_stream;

static const char *files_asked(unsigned vm)
{
	static const char letters[FILES_OP_MAX + 1] = {[FILES_MARK] = 'M',
						       [FILES_SINCE] = 'S',
						       [FILES_TREE] = 'T',
						       [FILES_READ] = 'R',
						       [FILES_CLOSE] = 'c'};
	static char text[32];
	struct agent_frame frame;
	struct files_request request;
	size_t count = 0;

	listen_to_core();
	while (agent_next(&channels[vm], &frame, NULL) == 1) {
		if (frame.type == AGENT_FILES && count < sizeof(text) - 1 &&
		    files_get_request(&frame, &request, NULL) == 0) {
			text[count] = letters[request.op];
			if (request.op == FILES_TREE && request.data_len)
				text[count] = 't';
			count++;
			asked_stream = frame.stream;
		}
		buf_consume(&channels[vm], agent_frame_size(&frame));
	}
	text[count] = '\0';
	return text;
}

/* To the last that files_asked() has seen. */
static void answer_asked(unsigned vm, uint16_t of_epoch, const struct files_reply *reply)
{
	struct buf out = {0};

	put_reply(&out, of_epoch, asked_stream, reply);
	epoch = of_epoch;
	say(vm, asked_stream, AGENT_FILES_REPLY, buf_peek(&out) + AGENT_HEADER,
	    out.len - AGENT_HEADER);
	epoch = 1;
	buf_fini(&out);
}

static struct sandbox *fork_at(struct sandbox *parent, unsigned of_vm, uint64_t moment,
			       const char *name, unsigned vm)
{
	const char *const names[] = {name};
	uint16_t of_epoch = parent->epoch;

	parent->notes_changes = true;
	order(parent, names, 1);
	is_str(files_asked(of_vm), "M", "who is to be forked says what time it is");
	answer_asked(of_vm, of_epoch, &(struct files_reply){.value = moment, .watch = -1});
	listen_to_core();
	answer_vms(vm, 1);
	awake(vm, of_epoch + 1);
	return child(parent, name);
}

static void answer_since(unsigned vm, uint16_t of_epoch, const char *path)
{
	struct files_reply reply = {.watch = -1};
	struct buf picks = {0};

	is_str(files_asked(vm), "S", "it is asked what changed");
	if (path)
		picks_put(&picks, path, PICK_NAME);
	reply.data = picks.len ? buf_peek(&picks) : NULL;
	reply.data_len = (uint32_t)picks.len;
	answer_asked(vm, of_epoch, &reply);
	buf_fini(&picks);
}

/* The tree, all of it or of picks, is as many of these. */
static void answer_entries(unsigned vm, uint16_t of_epoch, const char *asked_how,
			   const char *path, uint32_t mode, int count)
{
	struct tree_entry entry = {.now = {.mode = mode, .nlink = 1, .ino = 3}};
	struct files_reply reply = {.watch = -1};
	struct buf bytes = {0};
	char name[64];

	is_str(files_asked(vm), asked_how, "it is asked for its files");
	answer_asked(vm, of_epoch, &(struct files_reply){.handle = 1, .watch = -1});
	is_str(files_asked(vm), "R", "and tells of them");
	entry.path = name;
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), i ? "%s%d" : "%s", path, i);
		tree_put(&bytes, &entry);
	}
	reply.data = bytes.len ? buf_peek(&bytes) : NULL;
	reply.data_len = (uint32_t)bytes.len;
	answer_asked(vm, of_epoch, &reply);
	buf_fini(&bytes);
}

static void answer_file(unsigned vm, uint16_t of_epoch, const char *asked_how,
			const char *path)
{
	answer_entries(vm, of_epoch, asked_how, path, S_IFREG | 0644, 1);
}

static void merged(void *ctx, const struct error *err)
{
	*(bool *)ctx = !err;
}

static void merge_one(struct sandbox *sb, const char *name)
{
	struct sandbox *winner = child(sb, name);
	uint32_t vm = winner->vm;
	struct merge *handle;
	struct error err;
	bool well = false;

	is_int(merge_begin(sb, name, merged, &well, &handle, &err), 0, "a fork is merged");
	awake(vm, winner->epoch);
	spin(20);
	ok(well && sb->vm == vm, "its machine is the sandbox's");
}

/* Both have changed one file. */
static void ask_since(struct sandbox *a, struct sandbox *b)
{
	compare(a, DIFF_NOW, b);
	answer_since(a->vm, a->epoch, "same");
	answer_since(b->vm, b->epoch, "same");
}

static void what_changed_is_enough(struct sandbox *a, struct sandbox *b)
{
	ask_since(a, b);
	answer_entries(a->vm, a->epoch, "t", "a directory of one alone", S_IFDIR | 0755,
		       300);
	answer_entries(b->vm, b->epoch, "t", NULL, 0, 0);
	is_int(ended.count, 0, "where one alone has directories");
	answer_file(a->vm, a->epoch, "ct", "below");
	answer_file(b->vm, b->epoch, "ct", "new");
	is_str(ended.text, "D below\nA new\n", "what is below them is looked at, too");
	is_str(files_asked(a->vm), "c", "and nothing else");
	is_str(files_asked(b->vm), "c", "of either");
}

/* What the one has said that it changed is not what another has, which merged into it. */
static void all_is_looked_at(struct sandbox *a, struct sandbox *b)
{
	is_int(ended.count, 0, "what its former machine said is not enough");
	answer_file(a->vm, a->epoch, "cT", "same");
	answer_file(b->vm, b->epoch, "cT", "new");
	is_str(ended.text, "A new\nD same\n", "and all is looked at");
	is_str(files_asked(a->vm), "c", "of one");
	is_str(files_asked(b->vm), "c", "and the other");
}

static void a_machine_changes_meanwhile(struct sandbox *demo)
{
	struct sandbox *a, *b;

	files_asked(PARENT); /* what was, for others */
	a = fork_at(demo, PARENT, 1000, "a", 30);
	b = fork_at(demo, PARENT, 2000, "b", 31);
	what_changed_is_enough(a, b);
	fork_at(b, 31, 3000, "w", 32);
	fork_at(b, 31, 4000, "x", 33);
	ask_since(a, b);
	answer_file(a->vm, a->epoch, "t", "same");
	merge_one(b, "w");
	answer_file(b->vm, b->epoch, "t", "same");
	all_is_looked_at(a, b);

	ask_since(a, b);
	answer_entries(a->vm, a->epoch, "t", "directory", S_IFDIR | 0755, 1);
	answer_entries(b->vm, b->epoch, "t", NULL, 0, 0);
	merge_one(b, "x");
	answer_file(a->vm, a->epoch, "ct", "same");
	answer_file(b->vm, b->epoch, "t", "same");
	all_is_looked_at(a, b);
}

static void boot_again(void)
{
	char text[64];

	is_str(asked_for(), "create", "its template boots again");
	snprintf(text, sizeof(text), "{\"seq\":%d,\"vm\":20}",
		 (int)json_integer_value(json_object_get(asked, "seq")));
	send_control(text);
	say(20, 0, AGENT_READY, NULL, 0);
	is_str(asked_for(), "park", "and is parked");
	answer_plain();
	is_str(asked_for(), "fork", "and forked");
}

static void an_image_is_built_again(struct sandbox *demo)
{
	static const struct timeval then[2] = {{1000000000, 0}, {1000000000, 0}};
	struct fork_order order = {
	    .folder = FOLDER_ROOT, .names = (const char *const[]){"later"}, .count = 1};
	uint32_t streams[8];
	char path[128];
	struct sandbox *later;

	is_int((int)demo->image, 1, "it has the first image");
	snprintf(path, sizeof(path), "%s/templates/default.erofs", images);
	utimes(path, then);
	template_fork(&core, 0, &order, remember, NULL, NULL);
	spin(20);
	later = sandbox_find(&core, FOLDER_ROOT, "later");
	ok(later && later->image == 2 && demo->image == 1, "who comes later has the next");
	compare(demo, DIFF_FORK_POINT, demo);
	boot_again();
	answer_vms(21, 1);
	is_str(asked_for(), "fork", "what demo was made of is looked for");
	answer_vms(22, 1);
	awake(21, 1);
	awake(22, 1);
	is_int(ended.code, -ENOENT, "and is not the template any more: ENOENT");
	heard(PARENT, AGENT_FILES, streams);
	compare(later, DIFF_NOW, demo);
	is_int(heard(21, AGENT_FILES, streams), 2, "of two images all files are needed");
	is_int(heard(PARENT, AGENT_FILES, streams), 2, "of each");
}

int main(void)
{
	struct sandbox *demo, *x;

	begin_world();
	demo = make_parent();
	x = fork_one(demo, "1", 6);
	it_is_asked_of_the_fork_point(x);
	a_fork_that_goes_lets_go(x);
	x = fork_one(demo, "2", 7);
	what_nobody_wants_is_cancelled(demo, x);
	large_trees_are_for_a_thread(demo, x);
	a_machine_changes_meanwhile(demo);
	a_template_shows_its_files(demo);
	an_image_is_built_again(demo);
	end_world();
	return done_testing();
}
