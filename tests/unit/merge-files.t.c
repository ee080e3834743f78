/*
 * Merges of files, against a vmctl and guests that this test plays: what becomes of the
 * parent's files, and that a merge that fails leaves them as they were.
 */
#include "tests/unit/forks.h"
#include "tests/unit/guest_files.h"

#include "pffs/core/merge/merge_files.h"
#include "pffs/core/twin.h"

static struct guest_fs demo_fs = {.vm = PARENT}, a_fs = {.vm = 6}, b_fs = {.vm = 7};
static struct guest_fs points[2]; /* fork points of both */
static struct guest_fs *const all[] = {&demo_fs, &a_fs, &b_fs, &points[0], &points[1]};
static struct merge_files *handle;
static int done_count, done_code;
static json_int_t resumed; /* the newest request that was answered */

static void done(void *ctx, const struct error *err)
{
	(void)ctx;
	done_count++;
	done_code = err ? err->code : 0;
	if (err)
		diag("%s", err->text);
}

/* Fork points are woken as they are asked for. */
static void work(void)
{
	char text[64];

	guests_work(all, 5);
	while (asked && strcmp(asked_for(), "resume") == 0 &&
	       json_integer_value(json_object_get(asked, "seq")) != resumed) {
		resumed = json_integer_value(json_object_get(asked, "seq"));
		snprintf(text, sizeof(text), "{\"seq\":%d}", (int)resumed);
		send_control(text);
		awake((unsigned)json_integer_value(json_object_get(asked, "vm")), 2);
		guests_work(all, 5);
	}
}

static int begin(struct sandbox *demo, enum merge3_favour favour, const char *a,
		 const char *b)
{
	char *const names[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b};
	struct error err;

	done_count = 0;
	return merge_files_begin(demo, names, b ? 2 : 1, favour, done, NULL, &handle, &err);
}

static void merge(struct sandbox *demo, const char *a, const char *b, int code,
		  const char *name)
{
	is_int(begin(demo, MERGE3_FAVOUR_NONE, a, b), 0, "%s", name);
	work();
	is_int(done_count, 1, "it ends");
	is_int(done_code, code, "as it should");
}

/* All begin with the same files; those of forks have the parent's identity. */
static void all_have(const struct guest_fs *from)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		memcpy(all[i]->files, from->files, sizeof(from->files));
		all[i]->meddle = NULL;
	}
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "path=text" of files and "path/" of directories, in order. */
static const char *listing(const struct guest_fs *fs)
{
	static char out[GUEST_FILES * GUEST_TEXT];
	static char lines[GUEST_FILES][GUEST_TEXT * 2];
	char *order[GUEST_FILES];
	int count = 0;

	for (int i = 0; i < GUEST_FILES; i++) {
		const struct guest_file *file = &fs->files[i];

		if (!*file->path)
			continue;
		snprintf(lines[count], sizeof(lines[0]), "%s%s%s", file->path,
			 S_ISDIR(file->mode) ? "/" : "=", file->text);
		order[count] = lines[count];
		count++;
	}
	qsort(order, (size_t)count, sizeof(order[0]), compare_lines);
	out[0] = '\0';
	for (int i = 0; i < count; i++) {
		strcat(out, i ? " " : "");
		strcat(out, order[i]);
	}
	return out;
}

static void begin_files(void)
{
	struct guest_fs from = {0};

	guest_dir(&from, "d");
	guest_text(&from, "d/x", "x");
	guest_text(&from, "text", "1\n2\n3\n4\n5\n");
	all_have(&from);
}

static void directories_come_back(struct sandbox *demo)
{
	begin_files();
	guest_remove(&demo_fs, "d/x", false);
	guest_remove(&demo_fs, "d", true);
	guest_text(&a_fs, "d/new", "n");
	guest_find(&a_fs, "d")->mode = S_IFDIR | 0700;
	guest_find(&points[0], "d")->mode = S_IFDIR | 0700;
	guest_text(&demo_fs, "text", "");
	guest_text(&a_fs, "text", "");
	merge(demo, "a", NULL, 0, "a fork has something for a directory that went");
	is_str(listing(&demo_fs), "d/ d/new=n text=", "which is there again");
	is_int(guest_find(&demo_fs, "d")->mode, S_IFDIR | 0700, "with its mode");
	ok(strstr(demo->merge_report, "A d\nA d/new\n"), "and the report has it");

	begin_files();
	guest_remove(&a_fs, "d/x", false);
	guest_remove(&a_fs, "d", true);
	guest_text(&b_fs, "d/new", "n");
	merge(demo, "a", "b", 0, "one fork removes what another one needs");
	ok(guest_find(&demo_fs, "d/new") && !guest_find(&demo_fs, "d/x"), "it stays");
	ok(strstr(demo->merge_report, "result merged\nA d/new\nD d/x\n"),
	   "and the report says no more");
}

/* A file that is written again, to the same size and at the moment of the fork, looks as
 * if nobody had: the fork's change was lost, or took demo's with it. */
static void at_the_moment_of_the_fork(struct sandbox *demo)
{
	static struct guest_fs *const changed[] = {&a_fs, &demo_fs};

	for (int i = 0; i < 2; i++) {
		begin_files();
		guest_find(&demo_fs, "text")->ctime_ns = GUEST_FORK_NS;
		all_have(&demo_fs);
		strcpy(guest_find(changed[i], "text")->text, "1\n2\n3\n4\nV\n");
		if (changed[i] == &demo_fs)
			guest_text(&a_fs, "text", "I\n2\n3\n4\n5\n");
		merge(demo, "a", NULL, 0, "what was written in one tick of the clock");
		is_str(guest_find(&demo_fs, "text")->text,
		       i ? "I\n2\n3\n4\nV\n" : "1\n2\n3\n4\nV\n",
		       i ? "of both is merged" : "is a change");
	}
}

static bool lie(struct guest_fs *fs, const struct files_request *request,
		struct files_reply *reply)
{
	(void)fs;
	reply->value = 1u << 20;
	return request->op == FILES_WRITE;
}

static bool refuse_rmdir(struct guest_fs *fs, const struct files_request *request,
			 struct files_reply *reply)
{
	(void)fs;
	reply->error = EBUSY;
	return request->op == FILES_RMDIR && strcmp(request->path, "d") == 0;
}

static void both_change_a_text(void)
{
	begin_files();
	guest_text(&demo_fs, "text", "one\n2\n3\n4\n5\n");
	guest_text(&a_fs, "text", "1\n2\n3\n4\nfive\n");
}

static void texts_are_merged(struct sandbox *demo)
{
	int64_t before;

	both_change_a_text();
	before = guest_find(&a_fs, "text")->mtime_ns;
	merge(demo, "a", NULL, 0, "both changed a text");
	is_str(guest_find(&demo_fs, "text")->text, "one\n2\n3\n4\nfive\n",
	       "it has the lines of both");
	ok(guest_find(&demo_fs, "text")->mtime_ns > before, "and is new");
}

static void guests_may_lie(struct sandbox *demo)
{
	both_change_a_text();
	demo_fs.meddle = lie;
	merge(demo, "a", NULL, -EIO, "a guest has written more than it was given");
	is_str(listing(&demo_fs), "d/ d/x=x text=one\n2\n3\n4\n5\n", "nothing is changed");

	begin_files();
	guest_remove(&a_fs, "d/x", false);
	guest_remove(&a_fs, "d", true);
	demo_fs.meddle = refuse_rmdir;
	merge(demo, "a", NULL, -EBUSY, "a directory cannot go");
	ok(strstr(demo->merge_report, "result failed\n"), "which is no conflict");
	ok(strstr(demo->merge_report, "\nD d/x\n") &&
	       !strstr(demo->merge_report, "\nD d\n"),
	   "and the report has what was done");
}

static bool is_rename_of(const struct files_request *request, const char *path)
{
	return request->op == FILES_RENAME && strcmp(request->path2, path) == 0;
}

static bool has_no_room(struct guest_fs *fs, const struct files_request *request,
			struct files_reply *reply)
{
	(void)fs;
	reply->error = ENOSPC;
	return is_rename_of(request, "text");
}

static bool writes_meanwhile(struct guest_fs *fs, const struct files_request *request,
			     struct files_reply *reply)
{
	(void)reply;
	if (is_rename_of(request, "d") || is_rename_of(request, "new"))
		guest_text(fs, "text", "demo's");
	return false;
}

static bool makes_meanwhile(struct guest_fs *fs, const struct files_request *request,
			    struct files_reply *reply)
{
	(void)reply;
	if (request->op == FILES_UNLINK && strcmp(request->path, "d/x") == 0)
		guest_text(fs, "d/cache", "c");
	return false;
}

/* A file for a directory, a new one, a new directory, another mode and another text. */
static void a_changes_much(void)
{
	begin_files();
	guest_remove(&a_fs, "d/x", false);
	guest_remove(&a_fs, "d", true);
	guest_text(&a_fs, "d", "file");
	guest_dir(&a_fs, "e");
	guest_text(&a_fs, "e/f", "f");
	guest_text(&a_fs, "new", "n");
	guest_text(&a_fs, "text", "other");
}

/* They would see a part of the merge, or change what it is about to replace. */
static void programs_stand_still(struct sandbox *demo)
{
	char before[256];

	demo_fs.holds = 0;
	begin_files();
	merge(demo, "a", NULL, 0, "nothing is to be changed");
	is_int(demo_fs.holds, 0, "which programs of the sandbox do not notice");
	a_changes_much();
	merge(demo, "a", NULL, 0, "files of a fork come");
	is_int(demo_fs.holds, 1, "while its programs stand still");
	ok(!demo->hold, "and go on");
	a_changes_much();
	snprintf(before, sizeof(before), "%s", listing(&demo_fs));
	demo_fs.restless = true;
	merge(demo, "a", NULL, -EAGAIN, "one that does not stop is in the way");
	is_str(listing(&demo_fs), before, "and nothing is changed");
	demo_fs.restless = false;
}

static void all_or_nothing(struct sandbox *demo)
{
	char before[256];

	a_changes_much();
	snprintf(before, sizeof(before), "%s", listing(&demo_fs));
	demo_fs.meddle = has_no_room;
	merge(demo, "a", NULL, -ENOSPC, "the last file does not find its place");
	is_str(listing(&demo_fs), before, "all others are taken back");
	is_int(guest_find(&demo_fs, "d")->mode, S_IFDIR | 0755, "with their modes");
	ok(!strstr(demo->merge_report, "\nA "), "and the report has none");
	demo_fs.meddle = NULL;
	merge(demo, "a", NULL, 0, "it can be tried again");
	is_str(listing(&demo_fs), "d=file e/ e/f=f new=n text=other", "and is all there");

	a_changes_much();
	demo_fs.meddle = writes_meanwhile;
	merge(demo, "a", NULL, -EAGAIN, "the parent writes a file in the last moment");
	is_str(listing(&demo_fs), "d/ d/x=x text=demo's", "it is not overwritten");

	begin_files();
	guest_remove(&a_fs, "d/x", false);
	guest_remove(&a_fs, "d", true);
	demo_fs.meddle = makes_meanwhile;
	merge(demo, "a", NULL, 0, "or puts something into a directory that goes");
	ok(guest_find(&demo_fs, "d/cache") && !guest_find(&demo_fs, "d/x"),
	   "the directory stays");
	ok(!strstr(demo->merge_report, "\nD d\n"), "and the report does not have it");
}

static bool stops_at_open(struct guest_fs *fs, const struct files_request *request,
			  struct files_reply *reply)
{
	(void)reply;
	fs->silent = request->op == FILES_OPEN;
	return false;
}

static void cancel(const char *name)
{
	is_int(done_count, 0, "%s", name);
	merge_files_cancel(handle);
	is_int(done_count, 1, "who is interrupted is told at once");
	is_int(done_code, -EINTR, "EINTR");
}

static void guests_may_be_silent(struct sandbox *demo)
{
	char before[256];

	a_changes_much();
	snprintf(before, sizeof(before), "%s", listing(&demo_fs));
	a_fs.silent = true;
	is_int(begin(demo, MERGE3_FAVOUR_NONE, "a", NULL), 0, "a fork is merged");
	work();
	cancel("that does not answer");
	a_fs.silent = false;
	work();

	a_fs.meddle = stops_at_open;
	is_int(begin(demo, MERGE3_FAVOUR_NONE, "a", NULL), 0, "or one");
	work();
	cancel("that does not let its files be copied");
	a_fs.silent = false;
	a_fs.meddle = NULL;
	work();
	is_str(listing(&demo_fs), before, "what was staged is removed");

	demo_fs.meddle = stops_at_open;
	is_int(begin(demo, MERGE3_FAVOUR_NONE, "a", NULL), 0, "or it is the parent");
	work();
	cancel("that does not answer any more");
	demo_fs.silent = false;
	demo_fs.meddle = NULL;
	work();
	is_str(listing(&demo_fs), before, "there as well");
	is_int(done_count, 1, "nobody is told twice");
}

static bool second_tree_is_not_sent(struct guest_fs *fs, const struct files_request *asked,
				    struct files_reply *reply)
{
	static unsigned trees;

	(void)reply;
	if (asked->op == FILES_TREE && ++trees == 2)
		fs->silent = true;
	return false;
}

static void one_that_was_cancelled_ends_first(struct sandbox *demo)
{
	a_changes_much();
	demo_fs.meddle = second_tree_is_not_sent;
	is_int(begin(demo, MERGE3_FAVOUR_NONE, "a", NULL), 0, "a merge begins");
	work();
	merge_files_cancel(handle);
	demo_fs.meddle = NULL;
	demo_fs.silent = false;
	ok(demo->hold, "one that was cancelled takes back what it has put there");
	is_int(begin(demo, MERGE3_FAVOUR_NONE, "b", NULL), -EAGAIN, "no other one begins");
	is_int(order(demo, NULL, 1), -EAGAIN, "and nothing is forked");
	work();
	ok(!demo->hold, "before it has ended");
	merge(demo, "a", NULL, 0, "then one does");
}

static void nothing_else_meanwhile(struct sandbox *demo)
{
	struct sandbox *a = child(demo, "a");
	struct merge *whole;
	struct error err;

	a_changes_much();
	a_fs.silent = true;
	is_int(begin(demo, MERGE3_FAVOUR_NONE, "a", NULL), 0, "while files are merged");
	is_int(merge_begin(demo, "b", done, NULL, &whole, &err), -EAGAIN,
	       "no other machine comes");
	is_int(merge_begin(demo, "a", done, NULL, &whole, &err), -EAGAIN, "nor the fork's");
	is_int(begin(demo, MERGE3_FAVOUR_NONE, "b", NULL), -EAGAIN, "no other files");
	is_int(order(demo, NULL, 1), -EAGAIN, "and nothing is forked");
	ok(sandbox_is_busy(a), "the fork becomes no template");
	a_fs.silent = false;
	work();
	is_int(done_code, 0, "it ends well");
	ok(!sandbox_is_busy(a), "then all may be done again");
	a_fs.silent = true;
	is_int(begin(demo, MERGE3_FAVOUR_NONE, "a", NULL), 0, "another one begins");
	sandbox_destroy(a);
	work();
	is_int(done_code, -EIO, "and the fork is removed: EIO");
}

static struct sandbox *make_fork(struct sandbox *parent, const char *name, unsigned vm)
{
	const char *const names[] = {name};

	is_int(order(parent, names, 1), 0, "a fork is ordered");
	listen_to_core();
	answer_vms(vm, 1);
	awake(vm, 2);
	return child(parent, name);
}

int main(void)
{
	struct sandbox *demo;

	begin_world();
	demo = make_parent();
	for (unsigned i = 0; i < 2; i++) {
		make_fork(demo, i ? "b" : "a", 6 + i);
		points[i].vm = FIRST_TWIN + twins - 1;
	}
	directories_come_back(demo);
	texts_are_merged(demo);
	at_the_moment_of_the_fork(demo);
	guests_may_lie(demo);
	programs_stand_still(demo);
	all_or_nothing(demo);
	guests_may_be_silent(demo);
	one_that_was_cancelled_ends_first(demo);
	nothing_else_meanwhile(demo);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buf_fini(&all[i]->tree);
	end_world();
	return done_testing();
}
