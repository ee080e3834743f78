/*
 * Paths in a guest, against guests that this test plays: symbolic links are followed in the
 * guest and nowhere else; and files that are read, written and removed there for somebody
 * outside, whatever the guest answers.
 */
#include "tests/unit/guest_files.h"

#include "pffs/core/files/dir_list.h"
#include "pffs/core/files/reader.h"
#include "pffs/core/files/remove_tree.h"
#include "pffs/core/files/resolve.h"
#include "pffs/core/files/writer.h"
#include "pffs/core/template.h"

#define VM 5u

static struct guest_fs fs = {.vm = VM};
static struct guest_fs *const all[] = {&fs};
static struct sandbox *demo;
static struct resolved found;
static int called, code;

static bool read_link(struct guest_fs *guest, const struct files_request *request,
		      struct files_reply *reply)
{
	const struct guest_file *file = guest_find(guest, request->path);

	if (request->op == FILES_GETATTR && !*request->path) {
		reply->has_attr = true;
		reply->attr = (struct files_attr){.ino = 1, .mode = S_IFDIR | 0755};
		return true;
	}
	if (request->op != FILES_READLINK)
		return false;
	reply->error = file ? 0 : ENOENT;
	if (file) {
		reply->data = (const uint8_t *)file->text;
		reply->data_len = (uint32_t)strlen(file->text);
	}
	return true;
}

static void link_to(const char *path, const char *target)
{
	guest_put(&fs, path, S_IFLNK | 0777, target);
}

static void resolved(void *ctx, const struct resolved *is, const struct error *err)
{
	(void)ctx;
	called++;
	code = err ? err->code : 0;
	found = is ? *is : (struct resolved){0};
}

/* Return: what @path is, or the name of the error. */
static const char *resolve(const char *path, unsigned how)
{
	called = 0;
	if (!resolve_begin(demo, path, how, resolved, NULL))
		return "no memory";
	guests_work(all, 1);
	if (called != 1)
		return "no answer";
	return code ? strerrorname_np(-code) : found.path;
}

static void paths(void)
{
	fs.meddle = read_link;
	guest_dir(&fs, "a");
	guest_dir(&fs, "a/b");
	guest_text(&fs, "a/b/file", "text");
	is_str(resolve("a/b/file", 0), "a/b/file", "a path without links is itself");
	is_int(fs.requests, 1, "by one question");
	is_str(resolve("//a/./b//file/", 0), "a/b/file", "what means nothing is left out");
	is_str(resolve("a/../a/b/../../a", 0), "a", "and .. goes up");
	is_str(resolve("../../..", 0), "", "to the root");
	ok(S_ISDIR(found.attr.mode), "which is a directory");
	is_str(resolve("a/none", 0), "ENOENT", "what is not there is not found");
	is_str(resolve("a/b/file/x", 0), "ENOTDIR", "nor what is below a file");
	is_str(resolve("a/none/more/../x", RESOLVE_MISSING), "ENOENT",
	       "what is not there has no ..");
	is_str(resolve("a/none/more", RESOLVE_MISSING), "a/none/more",
	       "it can have a place");
	ok(!found.exists && found.there == 1, "in what is there");
}

static void links(void)
{
	char far[512] = "";

	link_to("here", "a/b");
	link_to("absolute", "/a/b/file");
	link_to("a/b/up", "../../../../../../../../a");
	link_to("a/dangling", "new/file");
	link_to("loop", "a/../loop");
	is_str(resolve("here/file", 0), "a/b/file", "a link is followed");
	is_str(resolve("absolute", 0), "a/b/file", "an absolute one from the guest's root");
	is_str(resolve("here/up/b/up", 0), "a", "none leads above that");
	is_str(resolve("here/..", 0), "a", ".. of where a link leads is there");
	is_str(resolve("absolute", RESOLVE_NO_FOLLOW), "absolute", "or the link is meant");
	is_str(resolve("here/up", RESOLVE_NO_FOLLOW), "a/b/up", "the last one only");
	is_str(resolve("a/dangling", 0), "ENOENT", "one may lead to nothing");
	is_str(resolve("a/dangling", RESOLVE_MISSING), "a/new/file",
	       "where something can be made");
	is_str(resolve("loop", 0), "ELOOP", "one to itself ends");
	for (int i = 0; i < 45; i++) {
		snprintf(far, sizeof(far), "l%d", i + 1);
		link_to("chain", far);
		snprintf(fs.files[guest_find(&fs, "chain") - fs.files].path, 128, "l%d", i);
	}
	guest_dir(&fs, "l45");
	is_str(resolve("l5", 0), "l45", "40 links are followed");
	is_str(resolve("l4", 0), "ELOOP", "not 41");
}

static int lies;

/* A link whose target is no text, or never the same. */
static bool lie(struct guest_fs *guest, const struct files_request *request,
		struct files_reply *reply)
{
	static uint8_t target[FILES_PATH_MAX + 10];

	if (request->op == FILES_GETATTR) {
		reply->has_attr = true;
		reply->attr.mode = lies == 3 ? 0170000 : S_IFLNK | 0777;
		return true;
	}
	if (request->op != FILES_READLINK)
		return read_link(guest, request, reply);
	memset(target, 'x', sizeof(target));
	reply->data = target;
	reply->data_len = lies == 0 ? 0 : lies == 1 ? sizeof(target) : 3;
	if (lies == 2)
		target[1] = '\0';
	if (lies == 4)
		memcpy(target, "x/x", 3);
	return true;
}

static void hostile(void)
{
	static const char *const says[] = {"EIO", "EIO", "EIO", "EIO", "ELOOP"};
	static const char *const names[] = {
	    "a link to nothing is none", "a target may be no longer than a path",
	    "nor have a zero byte", "a type may not be one that there is not",
	    "links without an end end"};
	char path[FILES_PATH_MAX + 2];

	fs.meddle = lie;
	for (lies = 0; lies < 5; lies++)
		is_str(resolve(lies == 4 ? "x/y" : "x", 0), says[lies], "%s", names[lies]);
	fs.meddle = read_link;
	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	is_str(resolve(path, 0), "ENAMETOOLONG", "a path has a limit");
	path[300] = '\0';
	is_str(resolve(path, RESOLVE_MISSING), "ENAMETOOLONG", "and so has a name");
}

static void settled(void *ctx, const struct error *err)
{
	(void)ctx;
	called++;
	code = err ? err->code : 0;
}

static void room(void *ctx)
{
	(void)ctx;
}

static struct writer *begin_write(const char *path)
{
	const struct writer_order order = {.path = path, .mode = 0640};

	called = 0;
	return writer_begin(demo, &order, room, settled, NULL);
}

static int count_files(void)
{
	int count = 0;

	for (int i = 0; i < GUEST_FILES; i++)
		count += *fs.files[i].path != '\0';
	return count;
}

static bool no_room(struct guest_fs *guest, const struct files_request *request,
		    struct files_reply *reply)
{
	(void)guest;
	if (request->op == FILES_WRITE)
		reply->error = ENOSPC;
	return request->op == FILES_WRITE;
}

static bool too_much(struct guest_fs *guest, const struct files_request *request,
		     struct files_reply *reply)
{
	(void)guest;
	if (request->op == FILES_WRITE)
		reply->value = request->data_len + 1;
	return request->op == FILES_WRITE;
}

static void writes(void)
{
	int before = count_files();
	struct writer *writer = begin_write("a/written");

	writer_put(writer, "one ", 4);
	guests_work(all, 1);
	ok(!guest_find(&fs, "a/written"), "what is being written has no name yet");
	writer_put(writer, "two", 3);
	writer_end(writer);
	guests_work(all, 1);
	is_int(called, 1, "it comes to an end");
	is_int(code, 0, "well");
	is_str(guest_find(&fs, "a/written")->text, "one two", "with all of it");
	is_int((int)guest_find(&fs, "a/written")->mode & 0777, 0640, "and its mode");
	is_int(count_files(), before + 1, "and nothing else is left");
	writer = begin_write("a/aborted");
	writer_abort(writer);
	guests_work(all, 1);
	writer = begin_write("a/aborted");
	writer_put(writer, "x", 1);
	guests_work(all, 1);
	writer_abort(writer);
	guests_work(all, 1);
	is_int(count_files(), before + 1, "what is given up leaves nothing");
	for (int i = 0; i < 2; i++) {
		fs.meddle = i ? too_much : no_room;
		writer = begin_write("a/failed");
		writer_put(writer, "x", 1);
		writer_end(writer);
		guests_work(all, 1);
		is_int(code, i ? -EIO : -ENOSPC,
		       i ? "a guest that says it wrote more is not believed"
			 : "that there is no room is told");
	}
	fs.meddle = NULL;
	is_int(count_files(), before + 1, "and nothing is left of that");
}

static struct outlet *outlet;
static char text[64];
static size_t text_len;
static ssize_t ended;

static void came(void *ctx)
{
	ssize_t n;

	(void)ctx;
	while ((n = outlet_take(outlet, text + text_len, 3)) > 0)
		text_len += (size_t)n;
	ended = n;
}

static struct reader *reader;

static void opened(void *ctx, const struct files_attr *attr, const struct error *err)
{
	const uint64_t *range = ctx;

	code = err ? err->code : 0;
	if (attr)
		outlet = reader_start(reader, range[0], range[1], came, NULL);
}

static int losses; /* how often a handle is not known any more */

/* What FILES_OPEN tells of the file, as a real server does. */
static bool tell_of_it(struct guest_fs *guest, const struct files_request *request,
		       struct files_reply *reply)
{
	if (request->op == FILES_READ && losses > 0) {
		losses--;
		reply->error = EBADF;
		return true;
	}
	if (request->op != FILES_OPEN)
		return false;
	reply->error = guest_open(guest, request, reply);
	guest_getattr(guest, request, reply);
	return true;
}

static const char *read_part(const char *path, uint64_t offset, uint64_t size)
{
	uint64_t range[] = {offset, size};

	fs.meddle = tell_of_it;
	memset(text, 0, sizeof(text));
	text_len = 0;
	outlet = NULL;
	reader = reader_open(demo, path, opened, range);
	guests_work(all, 1);
	if (outlet)
		outlet_close(outlet);
	else
		reader_close(reader);
	return text;
}

static void reads(void)
{
	is_str(read_part("a/written", 0, 7), "one two", "a file is read");
	is_int(ended, -ENODATA, "to its end");
	is_str(read_part("a/written", 4, 2), "tw", "or a part of it");
	is_str(read_part("a/written", 4, 30), "two",
	       "one that is shorter than it was said");
	is_int(ended, -EIO, "is no whole file");
	losses = 1;
	is_str(read_part("a/written", 0, 7), "one two",
	       "it is opened again when the machine is another one");
	losses = 2;
	is_str(read_part("a/written", 0, 7), "", "but not for ever");
	is_int(ended, -EBADF, "and then fails");
	losses = 0;
	read_part("a", 0, 1);
	is_int(code, -EINVAL, "a directory is not read");
	read_part("none", 0, 1);
	is_int(code, -ENOENT, "nor what is not there");
}

static void listed(void *ctx, struct dir_entries *entries, const struct error *err)
{
	(void)ctx;
	(void)entries;
	called++;
	code = err ? err->code : 0;
}

static int lost;

/* It opens, and then knows nothing of that. */
static bool forget(struct guest_fs *guest, const struct files_request *request,
		   struct files_reply *reply)
{
	static uint8_t bytes[512];
	struct cursor c = cursor_into(bytes, sizeof(bytes));
	const struct files_entry entry = {
	    .attr = {.mode = S_IFREG}, .cookie = 1, .name = "x"};

	(void)guest;
	if (request->op == FILES_WRITE || (request->op == FILES_LIST && request->handle)) {
		lost++;
		reply->error = EBADF;
		return lost < 1000;
	}
	if (request->op != FILES_LIST)
		return false;
	files_put_entry(&c, &entry);
	reply->handle = 1;
	reply->data = bytes;
	reply->data_len = (uint32_t)(sizeof(bytes) - cursor_left(&c));
	return true;
}

static void losers(void)
{
	struct writer *writer;

	fs.meddle = forget;
	writer = begin_write("a/forgotten");
	writer_put(writer, "x", 1);
	writer_end(writer);
	guests_work(all, 1);
	is_int(code, -EBADF, "who never knows what he opened has nothing written");
	ok(lost < 10, "and is not asked for ever");
	lost = called = 0;
	dir_list_begin(demo, "a", listed, NULL);
	guests_work(all, 1);
	is_int(code, -EBADF, "nor is a list begun");
	ok(called == 1 && lost < 10, "for ever");
	fs.meddle = NULL;
}

/* A directory whose list never ends, or has names that none can have. */
static bool endless(struct guest_fs *guest, const struct files_request *request,
		    struct files_reply *reply)
{
	static uint8_t bytes[4096];
	struct cursor c = cursor_into(bytes, sizeof(bytes));
	struct files_entry entry = {.attr = {.mode = S_IFREG}, .cookie = 1};

	(void)guest;
	if (request->op != FILES_LIST)
		return false;
	strcpy(entry.name, lies ? "../x" : "x");
	if (lies == 2)
		strcpy(entry.name, "..");
	files_put_entry(&c, &entry);
	reply->data = bytes;
	reply->data_len = lies == 3 ? 5 : (uint32_t)(sizeof(bytes) - cursor_left(&c));
	return true;
}

static void lists(void)
{
	fs.meddle = endless;
	for (lies = 0; lies < 4; lies++) {
		called = 0;
		dir_list_begin(demo, "a", listed, NULL);
		guests_work(all, 1);
		is_int(called, 1, "a list that is none ends");
		is_int(code, -EIO, "as an error");
	}
	for (lies = 1; lies < 4; lies++) {
		called = 0;
		fs.requests = 0;
		remove_tree_begin(demo, "a", true, true, settled, NULL);
		guests_work(all, 1);
		is_int(code, -EIO, "what it names is not removed");
	}
	fs.meddle = NULL;
	ok(guest_find(&fs, "a/written"), "of other directories");
}

static void make_sandbox(void)
{
	const char *const names[] = {"demo"};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};
	struct error err;

	template_fork(&core, 0, &order, NULL, NULL, &err);
	boot_template();
	demo = sandbox_find(&core, FOLDER_ROOT, "demo");
	answer_newest(",\"vms\":[{\"vm\":5,\"pid\":2}],\"pause_usec\":1");
	say(VM, 0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(demo), "ready", "there is a sandbox");
}

int main(void)
{
	begin_world();
	make_sandbox();
	paths();
	links();
	hostile();
	writes();
	reads();
	lists();
	losers();
	buf_fini(&fs.tree);
	end_world();
	return done_testing();
}
