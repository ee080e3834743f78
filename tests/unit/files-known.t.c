/*
 * What pffs knows of a guest's files: nodes of names, listings that are true until the
 * guest says otherwise, and calls with one answer each, against a vmctl and a guest that
 * this test plays.
 */
#include "tests/unit/put_reply.h"
#include "tests/unit/world.h"

#include "pffs/core/files/files_cache.h"
#include "pffs/core/files/files_node.h"
#include "pffs/core/template.h"

#include <fcntl.h>

#define VM 5u

static struct sandbox *sb;
static struct files_node *root;

static struct files_attr attr_of(mode_t mode, uint64_t ino)
{
	return (struct files_attr){.mode = mode, .ino = ino, .dev = 1, .nlink = 1};
}

static enum files_known known(struct files_node *dir, const char *name)
{
	struct files_attr attr;

	return files_cache_lookup(dir, name, &attr);
}

static const char *path_of(const struct files_node *node)
{
	static char path[FILES_PATH_MAX + 1];

	return files_node_path(node, NULL, path) < 0 ? "none" : path;
}

static void make_sandbox(void)
{
	struct error err;
	const char *const names[] = {"demo"};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};

	template_fork(&core, 0, &order, NULL, NULL, &err);
	boot_template();
	sb = sandbox_find(&core, FOLDER_ROOT, "demo");
	ok(sb, "a sandbox is on its way");
}

static void wake(void)
{
	answer_newest(",\"vms\":[{\"vm\":5,\"pid\":2}],\"pause_usec\":1");
	say(VM, 0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(sb), "ready", "it has woken");
}

static void nodes(void)
{
	struct files_attr dir = attr_of(S_IFDIR, 2), file = attr_of(S_IFREG, 3);
	struct files_attr other = attr_of(S_IFREG, 4);
	struct files_node *a = files_node_get(root, "a", &dir), *b, *c, *d;

	a->lookups = 1;
	b = files_node_get(a, "b", &file);
	b->lookups = 2;
	is_str(path_of(b), "a/b", "a node has a path");
	is_int(files_node_depth(b), 1, "and a depth");
	ok(files_node_find(a, "b") == b, "it is found by its name");
	ok(files_node_at(sb->files, b->number) == b, "and by its number");
	ok(files_node_get(a, "b", &file) == b, "one name is one node");
	c = files_node_get(a, "b", &other);
	c->lookups = 1;
	ok(c != b, "but not when another inode has the name");
	is_str(path_of(b), "none", "the old one has no name then");
	is_str(path_of(c), "a/b", "and the new one has");
	files_node_forget(b, 1);
	ok(files_node_at(sb->files, b->number) == b, "it lives while the kernel knows it");
	files_node_forget(b, 1);
	dir.ino = 99;
	ok(files_node_get(root, "a", &dir) == a, "a directory may get another inode");
	files_node_move(c, root, "moved");
	is_str(path_of(c), "moved", "a node moves");
	d = files_node_get(root, "d", &file);
	d->lookups = 1;
	files_node_swap(c, d);
	is_str(path_of(c), "d", "and changes places");
	is_str(path_of(d), "moved", "with another");
	files_node_move(d, root, "d");
	is_str(path_of(c), "none", "what it replaces has no name any more");
	files_node_forget(c, 1);
	files_node_forget(d, 1);
	files_node_forget(a, 7);
	is_int(sb->files->node_count, 1, "what nobody knows is gone");
}

static void many_nodes(void)
{
	struct files_attr file = attr_of(S_IFREG, 3);
	struct files_node *node;
	char name[16];
	bool good = true;

	for (uint64_t i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "%d", (int)i);
		file.ino = i;
		files_node_get(root, name, &file)->lookups = 1;
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		node = files_node_find(root, name);
		good &= node && node->ino == (uint64_t)i;
		if (node)
			files_node_forget(node, 1);
	}
	ok(good, "5,000 nodes are found");
	is_int(sb->files->node_count, 1, "and forgotten");
}

static void long_paths(void)
{
	struct files_attr attr = attr_of(S_IFDIR, 2);
	struct files_node *node = root;
	char name[FILES_NAME_MAX + 1], path[FILES_PATH_MAX + 1];

	memset(name, 'n', FILES_NAME_MAX);
	name[FILES_NAME_MAX] = '\0';
	for (int i = 0; i < 16; i++)
		node = files_node_get(node, name, &attr);
	node->lookups = 1;
	is_int(files_node_path(node, NULL, path), 0, "a path as long as it may be");
	is_int((intmax_t)strlen(path), 16 * 256 - 1, "is a path");
	is_int(files_node_path(node, "x", path), -ENAMETOOLONG,
	       "one that is longer is not");
	files_node_forget(node, 1);
}

static void listings(void)
{
	struct files_attr file = attr_of(S_IFREG, 3), dir = attr_of(S_IFDIR, 4), attr;
	struct files_attr linked = attr_of(S_IFREG, 5);

	linked.nlink = 2;
	is_int(known(root, "a"), FILES_UNKNOWN, "nothing is known at first");
	files_cache_learn(root, -1, "a", &file);
	is_int(known(root, "a"), FILES_UNKNOWN, "and nothing is kept without a watch");
	files_cache_learn(root, 7, "a", &file);
	files_cache_learn(root, 7, "no", NULL);
	files_cache_learn(root, 7, "d", &dir);
	files_cache_learn(root, 7, "two", &linked);
	is_int(known(root, "a"), FILES_PRESENT, "with one it is");
	is_int(known(root, "no"), FILES_ABSENT, "also that a name is not there");
	is_int(known(root, "d"), FILES_NAMED, "times of directories are not known by it");
	is_int(known(root, "two"), FILES_NAMED, "nor those of files with two links");
	is_int(known(root, "other"), FILES_UNKNOWN, "other names are not known");
	ok(!files_cache_self(root, &attr), "nor the directory itself");
	files_cache_learn_self(root, 7, &dir);
	ok(files_cache_self(root, &attr) && attr.ino == 4, "until it is");
	files_cache_learn(root, 6, "late", &file);
	is_int(known(root, "late"), FILES_UNKNOWN, "an older watch says nothing new");
	files_cache_changed(sb->files, 6);
	is_int(known(root, "a"), FILES_PRESENT, "nor does its end");
	files_cache_changed(sb->files, 7);
	is_int(known(root, "a"), FILES_UNKNOWN, "a change ends it all");
	ok(!files_cache_self(root, &attr), "for the directory, too");
	is_int((intmax_t)core.listed, 0, "and nothing is kept");
	files_cache_learn(root, 8, "a", &file);
	files_cache_changed(sb->files, UINT32_MAX);
	is_int(known(root, "a"), FILES_UNKNOWN, "so does a change of everything");
}

/* Somebody in the guest puts another directory at a place above this one. */
static void replaced_directories(void)
{
	struct files_attr old = attr_of(S_IFDIR, 40), other = attr_of(S_IFDIR, 41);
	struct files_attr file = attr_of(S_IFREG, 3), attr;
	struct files_node *a = files_node_get(root, "a", &old);
	struct files_node *b = files_node_get(a, "b", &old);
	struct files_node *c = files_node_get(root, "c", &old);

	b->lookups = c->lookups = 1;
	files_cache_learn(b, 50, "x", &file);
	files_cache_learn_self(b, 50, &old);
	files_cache_learn(c, 51, "x", &file);
	files_node_learn(a, &other);
	ok(files_node_get(root, "a", &old) == a, "a lookup finds the same directory");
	is_int(known(b, "x"), FILES_PRESENT, "and what is known below it is true");
	ok(files_node_get(root, "a", &other) == a, "it finds another one");
	is_int(known(b, "x"), FILES_UNKNOWN, "then nothing is known below it");
	ok(!files_cache_self(b, &attr), "not of the directory itself either");
	is_int(known(c, "x"), FILES_PRESENT, "but what is known elsewhere is true");
	files_cache_learn(b, 52, "new", &file);
	is_int(known(b, "new"), FILES_PRESENT, "what is learnt from then on is known");
	is_int(known(b, "x"), FILES_UNKNOWN, "and no more than that");
	files_cache_drop(c);
	files_node_forget(b, 1);
	files_node_forget(c, 1);
}

static struct files_listing *listing_of(int count)
{
	struct files_listing *listing = files_listing_new();
	struct files_entry entry = {.attr = attr_of(S_IFREG, 3)};

	for (int i = 0; i < count; i++) {
		snprintf(entry.name, sizeof(entry.name), "name-%d", i);
		if (files_listing_add(listing, &entry) < 0)
			break;
	}
	return listing;
}

/* What we change ourselves. */
static void own_changes(void)
{
	struct files_attr file = attr_of(S_IFREG, 3), dir = attr_of(S_IFDIR, 4), attr;
	struct files_listing *listing = listing_of(10), *kept;
	struct files_moment then;

	files_cache_install(root, listing, 200);
	files_listing_unref(listing);
	files_cache_learn_self(root, 200, &dir);
	kept = files_cache_complete(root);
	then = files_cache_moment(root);
	files_cache_unsure(root, "new", true);
	is_int(known(root, "new"), FILES_UNKNOWN, "of a name that is being made");
	ok(!files_cache_self(root, &attr), "and of its directory nobody is sure");
	is_int(known(root, "name-1"), FILES_PRESENT, "but of other names");
	ok(!files_cache_complete(root), "so that not all is known");
	ok(files_cache_unchanged(root, &then), "it has not changed yet");
	dir.size = 77;
	files_cache_change(root, 200, "new", &file, &dir);
	is_int(known(root, "new"), FILES_PRESENT, "then it is there");
	ok(files_cache_self(root, &attr) && attr.size == 77, "and the directory is known");
	ok(files_cache_same(root, &then) && !files_cache_unchanged(root, &then),
	   "which was changed, and is the same");
	is_int(kept->count, 10, "who reads it reads it as it was");
	files_listing_unref(kept);
	files_cache_unsure(root, "name-1", true);
	files_cache_change(root, 200, "name-1", NULL, &dir);
	is_int(known(root, "name-1"), FILES_ABSENT, "a name is removed");
	kept = files_cache_complete(root);
	ok(kept, "all is known again");
	files_listing_unref(kept);
	files_cache_unsure(root, "name-2", false);
	files_cache_learn(root, 200, "name-2", &file);
	is_int(known(root, "name-2"), FILES_PRESENT,
	       "a change that failed: what is said next is known");
	files_cache_change(root, 201, "name-3", &file, NULL);
	is_int(known(root, "name-3"), FILES_PRESENT, "under another watch the change");
	is_int(known(root, "name-4"), FILES_UNKNOWN, "and nothing else is known");
	files_cache_change(root, -1, "name-5", &file, NULL);
	is_int(known(root, "name-3"), FILES_UNKNOWN, "and without a watch nothing");
	ok(!root->listing, "and nothing is kept of the directory");
}

static struct {
	struct core_mount mount;
	const struct files_node *nodes[8];
	int count;
} told;

static void tell(struct core_mount *mount, const struct files_node *node, bool names)
{
	(void)mount;
	(void)names;
	told.nodes[told.count++ % 8] = node;
}

static bool was_told(const struct files_node *node)
{
	bool was = told.count == 1 && told.nodes[0] == node;

	told.count = 0;
	return was;
}

/* What the kernel keeps. */
static void shown_attributes(void)
{
	struct files_attr file = attr_of(S_IFREG, 3), dir = attr_of(S_IFDIR, 4);
	struct files_attr other = attr_of(S_IFREG, 9);
	struct files_node *a = files_node_get(root, "a", &file);
	struct files_node *d = files_node_get(root, "d", &dir);

	a->lookups = d->lookups = 1;
	told.mount.stale = tell;
	list_add_before(&core.mounts, &told.mount.link);
	is_int(files_cache_show(a), 0, "what is not known is not kept");
	files_cache_learn(root, 300, "a", &file);
	files_cache_learn(root, 300, "d", &dir);
	ok(files_cache_show(a) > 0, "what is known is");
	is_int(files_cache_show(d), 0, "but for a directory, which has a watch of its own");
	files_cache_changed(sb->files, 300);
	ok(was_told(a), "when it ends mounts are told");
	files_cache_learn_self(d, 301, &dir);
	ok(files_cache_show(d) > 0, "then a directory, too");
	files_cache_changed(sb->files, 301);
	ok(was_told(d), "and when that ends");
	files_cache_learn(root, 302, "a", &file);
	files_cache_show(a);
	files_cache_unsure(root, "a", false);
	ok(was_told(a), "when we begin to change it");
	files_cache_change(root, 302, "a", &other, NULL);
	is_int(files_cache_show(a), 0, "another file's attributes are not this one's");
	files_cache_learn(root, 303, "a", &file);
	files_cache_show(a);
	files_node_unlink(a);
	ok(was_told(a), "when it has lost its name");
	files_node_forget(a, 1);
	files_node_forget(d, 1);
	list_del(&told.mount.link);
	files_cache_drop(root);
}

/* A program looks at the same names again and again. */
static void repeated_names(void)
{
	struct files_attr file = attr_of(S_IFREG, 3), attr;
	char name[16];
	size_t once = 0;

	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 100; i++) {
			snprintf(name, sizeof(name), "%d", i);
			file.size = (uint64_t)round;
			files_cache_learn(root, 60, name, &file);
		}
		once = round ? once : sb->files->cached;
	}
	is_int((intmax_t)sb->files->cached, (intmax_t)once,
	       "what is learnt again takes no more room");
	ok(files_cache_lookup(root, "99", &attr) == FILES_PRESENT && attr.size == 49,
	   "and is what was said last");
	files_cache_drop(root);
}

static void too_large(void)
{
	struct files_attr file = attr_of(S_IFREG, 3);
	struct files_attr dir = attr_of(S_IFDIR, 4);
	struct files_node *other = files_node_get(root, "other", &dir);
	char name[FILES_NAME_MAX + 1];

	other->lookups = 1;
	files_cache_learn(other, 70, "x", &file);
	memset(name, 'n', FILES_NAME_MAX);
	name[FILES_NAME_MAX] = '\0';
	for (int i = 0; i < 60000; i++) {
		snprintf(name, 8, "%07d", i);
		name[7] = 'n';
		files_cache_learn(root, 71, name, &file);
	}
	ok(sb->files->cached <= FILES_CACHE_EACH,
	   "a directory that is too large by itself");
	files_cache_drop(root);
	is_int(known(other, "x"), FILES_PRESENT, "takes no room from the others");
	files_node_forget(other, 1);
}

static void complete_listings(void)
{
	struct files_listing *listing = listing_of(2000), *kept;
	struct files_entry entry;
	struct cursor c;
	int count = 0;

	files_cache_install(root, listing, 20);
	files_listing_unref(listing);
	is_int(known(root, "name-0"), FILES_PRESENT, "a whole directory: its first");
	is_int(known(root, "name-1999"), FILES_PRESENT, "and last names are known");
	is_int(known(root, "name-2000"), FILES_ABSENT, "and that there are no others");
	kept = files_cache_complete(root);
	files_cache_changed(sb->files, 20);
	c = cursor_over(buf_peek(&kept->entries), kept->entries.len);
	while (files_get_entry(&c, &entry) == 1)
		count++;
	is_int(count, 2000, "who reads it goes on when it is not true any more");
	files_listing_unref(kept);
	ok(!files_cache_complete(root), "which nobody else gets");
	listing = listing_of(100000);
	ok(listing->count < 100000, "there is a limit");
	files_listing_unref(listing);
}

static void bounds(void)
{
	struct files_attr dir = attr_of(S_IFDIR, 4);
	struct files_node *nodes[60];
	struct files_listing *listing;
	char name[16];

	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "dir-%d", i);
		nodes[i] = files_node_get(root, name, &dir);
		nodes[i]->lookups = 1;
		listing = listing_of(4000);
		files_cache_install(nodes[i], listing, 100 + i);
		files_listing_unref(listing);
	}
	ok(sb->files->cached <= FILES_CACHE_EACH, "a sandbox has its share of listings");
	is_int((intmax_t)sb->files->cached, (intmax_t)core.listed,
	       "which are all there are");
	is_int(known(nodes[59], "name-0"), FILES_PRESENT, "the newest is kept");
	is_int(known(nodes[0], "name-0"), FILES_UNKNOWN, "the oldest is not");
	for (int i = 0; i < 60; i++)
		files_node_forget(nodes[i], 1);
	ok(!files_node_find(root, "dir-0"), "a directory goes when the kernel forgets it");
	ok(files_node_find(root, "dir-59") == nodes[59] && nodes[59]->listing,
	   "but not while something is known of it");
	files_cache_drop(nodes[59]);
	ok(!files_node_find(root, "dir-59"), "then it goes as well");
	files_cache_clear(sb->files);
	is_int((intmax_t)core.listed, 0, "and with all of them their listings");
}

/* Answers that came. */
static struct {
	int count, error;
	uint32_t handle;
} got;

static void answer(void *ctx, const struct files_reply *reply)
{
	(void)ctx;
	got.count++;
	got.error = reply->error;
	got.handle = reply->handle;
}

static struct files_call *ask(enum files_op op, uint32_t handle)
{
	const struct files_request request = {
	    .op = (uint8_t)op, .path = "f", .handle = handle};
	struct files_call *call = NULL;

	got.count = 0;
	is_int(files_request(sb, &request, answer, NULL, &call), 0, "a request is taken");
	return call;
}

/* The streams of all requests that have come. */
static uint32_t asked_streams[64];
static struct files_request requests[64]; /* without what it points to */

static int hear(void)
{
	struct buf *agent = &channels[VM];
	struct agent_frame frame;
	int count = 0;

	spin(5);
	listen_to_core();
	while (agent_next(agent, &frame, NULL) == 1) {
		if (frame.type == AGENT_FILES && count < 64) {
			files_get_request(&frame, &requests[count], NULL);
			asked_streams[count++] = frame.stream;
		}
		buf_consume(agent, agent_frame_size(&frame));
	}
	return count;
}

static void reply_to(uint32_t stream, int error, uint32_t handle)
{
	const struct files_reply reply = {.error = error, .handle = handle, .watch = -1};
	struct buf agent = {0};
	struct agent_frame frame;

	put_reply(&agent, epoch, stream, &reply);
	agent_next(&agent, &frame, NULL);
	say(VM, stream, AGENT_FILES_REPLY, frame.payload, frame.len);
	buf_fini(&agent);
}

static void calls_wait(void)
{
	struct files_call *call = ask(FILES_GETATTR, 0);

	is_int(hear(), 0, "before the machine is ready nothing is sent");
	ok(!files_sent(call), "as it says");
	files_cancel(ask(FILES_GETATTR, 0));
	wake();
	is_int(hear(), 1, "then what is still wanted");
	reply_to(asked_streams[0] + 100, 0, 0);
	is_int(got.count, 0, "an answer to nothing is ignored");
	reply_to(asked_streams[0], ENOENT, 0);
	is_int(got.count, 1, "a request is answered");
	is_int(got.error, ENOENT, "as the guest says");
	reply_to(asked_streams[0], 0, 0);
	is_int(got.count, 1, "once");
}

static void errors_are_shown(void)
{
	ask(FILES_GETATTR, 0);
	hear();
	reply_to(asked_streams[0], 4000, 0);
	is_int(got.error, EIO, "an error that no program knows is EIO");
	ask(FILES_GETATTR, 0);
	hear();
	reply_to(asked_streams[0], ENOSYS, 0);
	is_int(got.error, EOPNOTSUPP, "ENOSYS would turn off the operation for all");
}

static void calls_are_cancelled(void)
{
	struct files_call *call = ask(FILES_OPEN, 0);

	hear();
	files_cancel(call);
	reply_to(asked_streams[0], 0, 77);
	is_int(got.count, 0, "who does not wait is not told");
	is_int(hear(), 1, "but what was opened is closed");
	reply_to(asked_streams[0], 0, 0);
}

static void calls_are_bounded(void)
{
	int first;

	for (unsigned i = 0; i < FILES_IN_FLIGHT + 10; i++)
		ask(FILES_GETATTR, 0);
	first = hear();
	is_int(first, FILES_IN_FLIGHT, "so many are on their way at most");
	for (int i = 0; i < first; i++) {
		uint32_t stream = asked_streams[i];

		reply_to(stream, 0, 0);
		asked_streams[i] = stream;
	}
	is_int(hear(), 10, "then the others");
	for (int i = 0; i < 10; i++)
		reply_to(asked_streams[i], 0, 0);
	is_int(sb->files->in_flight, 0, "and all are answered");
}

static struct files_call *ask_lock(uint32_t mode)
{
	const struct files_request request = {.op = FILES_SETLK,
					      .handle = 9,
					      .mode = mode,
					      .flags = mode == F_UNLCK ? 0 : FILES_WAIT};
	struct files_call *call = NULL;

	files_request(sb, &request, answer, NULL, &call);
	return call;
}

/* A guest in which another holds the lock. Return: how many asked to have it, of those
 * how many to wait for it, and whether one unlocked it. */
static int hold_lock(uint32_t waits[FILES_IN_FLIGHT], int *waiting, bool *unlocked)
{
	int count = hear();

	for (int i = 0; i < count; i++)
		if (requests[i].flags & FILES_WAIT)
			waits[(*waiting)++] = asked_streams[i];
		else if (requests[i].mode == F_UNLCK)
			*unlocked = true;
		else
			reply_to(asked_streams[i], EAGAIN, 0);
	return count;
}

static void locks_leave_room(void)
{
	uint32_t waits[FILES_IN_FLIGHT];
	struct files_call *last = NULL;
	bool unlocked = false;
	int waiting = 0, tries = 0;

	got.count = 0;
	for (int i = 0; i < 100; i++)
		last = ask_lock(F_WRLCK);
	is_int(hold_lock(waits, &waiting, &unlocked), FILES_IN_FLIGHT,
	       "a hundred locks are asked for");
	is_int(waiting, FILES_WAITS, "some may wait in the guest");
	for (int i = 0; i < 4; i++)
		tries += hold_lock(waits, &waiting, &unlocked);
	ok(tries > 70, "the others try again and again");
	is_int(waiting, FILES_WAITS, "but do not wait there");
	is_int(got.count, 0, "and are not told that they failed");
	ask_lock(F_UNLCK);
	for (int i = 0; i < 20 && !unlocked; i++)
		hold_lock(waits, &waiting, &unlocked);
	ok(unlocked, "who has the lock can unlock it");
	reply_to(waits[0], 0, 0);
	is_int(got.count, 1, "one gets it");
	for (int i = 0; i < 20 && waiting == FILES_WAITS; i++)
		hold_lock(waits, &waiting, &unlocked);
	is_int(waiting, FILES_WAITS + 1, "and another one waits in its place");
	files_cancel(last);
	files_epoch_changed(sb);
	is_int(got.count, 100, "a new epoch ends it for all that were not cancelled");
	is_int(sb->files->in_flight, 0, "and none is left");
	is_int(sb->files->waits, 0, "to wait");
	hear();
	spin(100);
	is_int(hear(), 0, "or to try");
}

static void epochs_change(void)
{
	struct files_attr file = attr_of(S_IFREG, 3);

	files_cache_learn(root, 30, "a", &file);
	ask(FILES_READ, 5);
	hear();
	files_epoch_changed(sb);
	is_int(got.count, 1, "a handle ends with its epoch");
	is_int(got.error, EBADF, "as one that nobody knows");
	is_int(known(root, "a"), FILES_UNKNOWN, "and so does what was known");
	ask(FILES_GETATTR, 0);
	hear();
	files_epoch_changed(sb);
	is_int(got.count, 0, "what was asked by a path");
	files_next(sb);
	is_int(hear(), 1, "is asked again");
	reply_to(asked_streams[0], 0, 0);
	is_int(got.count, 1, "and answered");
}

static void the_end(void)
{
	const struct files_request request = {.op = FILES_GETATTR, .path = "f"};

	ask(FILES_GETATTR, 0);
	hear();
	say(VM, 1, AGENT_FILES_REPLY, "x", 1);
	is_str(sandbox_state_name(sb), "dead", "a reply that is none ends the machine");
	is_int(got.count, 1, "who waits is told");
	is_int(got.error, EIO, "that it failed");
	is_int(files_request(sb, &request, answer, NULL, NULL), -EIO,
	       "nothing is asked then");
}

int main(void)
{
	begin_world();
	make_sandbox();
	root = files_root(sb);
	ok(root && root->number == 0, "the root is number 0");
	nodes();
	many_nodes();
	long_paths();
	listings();
	replaced_directories();
	own_changes();
	shown_attributes();
	repeated_names();
	too_large();
	complete_listings();
	bounds();
	calls_wait();
	errors_are_shown();
	calls_are_cancelled();
	calls_are_bounded();
	locks_leave_room();
	epochs_change();
	the_end();
	end_world();
	return done_testing();
}
