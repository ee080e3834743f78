/*
 * Comparisons of sandboxes whose guests this test plays: what becomes of the machines
 * that they need, of what was asked when nobody wants to know any more, and of images
 * that are built again.
 */
#include "tests/unit/forks.h"
#include "tests/unit/put_reply.h"

#include "pffs/core/diff.h"
#include "pffs/core/twin.h"
#include "wire/files.h"
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
	    .folder = FOLDER_ROOT, .names = (const char *const[]){"new"}, .count = 1};
	uint32_t streams[8];
	char path[128];
	struct sandbox *later;

	is_int((int)demo->image, 1, "it has the first image");
	snprintf(path, sizeof(path), "%s/templates/default.erofs", images);
	utimes(path, then);
	template_fork(&core, 0, &order, remember, NULL, NULL);
	spin(20);
	later = sandbox_find(&core, FOLDER_ROOT, "new");
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
	a_template_shows_its_files(demo);
	an_image_is_built_again(demo);
	end_world();
	return done_testing();
}
