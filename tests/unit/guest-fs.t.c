/*
 * What programs of the host see in fs/ while the guest, and other mounts, change what is
 * there, at the worst moments: pffs/fs/guest_*.c against a kernel, a vmctl and a guest
 * that this test plays.
 */
#include "tests/unit/fuse_kit.h"

#include <fcntl.h>
#include <stdio.h>

/* The kernel knows x/d, and what is in it. */
static struct files_node *know_old(struct fs *fs, struct files_node *x)
{
	static const char *const names[] = {"old", NULL};
	struct files_node *d = meet(fs, x, "d", 2, attr_of(S_IFDIR, 11));
	const struct files_reply reply =
	    list_reply(3, attr_of(S_IFDIR, 11), names, attr_of(S_IFREG, 12));
	struct fuse_req *req = list_dir(fs, d, true);

	answer(FILES_LIST, &reply);
	is_str(req->names, "old ", "x/d is listed");
	return d;
}

/* In the guest x/d is another directory now. */
static void see_new(struct fs *fs, struct files_node *d)
{
	static const char *const names[] = {"new", NULL};
	const struct files_reply reply =
	    list_reply(5, attr_of(S_IFDIR, 21), names, attr_of(S_IFREG, 22));
	const struct files_reply none = {.watch = 5, .error = ENOENT};
	struct fuse_req *req = list_dir(fs, d, true);

	answer(FILES_LIST, &reply);
	is_str(req->names, "new ", "what was in the old x/d is not in the new one");
	req = lookup(fs, d, "old");
	if (hear())
		reply_to(questions[0].stream, &none);
	is_int(req->error, ENOENT, "nor is it found there by its name");
}

/* The guest put another directory in the place of x while x was being listed. The list
 * was of the new one, and what was known below x was not. */
static void replaced_while_listed(void)
{
	static const char *const names[] = {"d", NULL};
	struct fs *fs = mount_it();
	struct files_node *x = meet(fs, root, "x", 1, attr_of(S_IFDIR, 10));
	struct files_node *d = know_old(fs, x);
	const struct files_reply reply =
	    list_reply(4, attr_of(S_IFDIR, 20), names, attr_of(S_IFDIR, 21));
	struct fuse_req *req = list_dir(fs, x, false);
	uint32_t listing = hear_one(FILES_LIST);

	changed(1); /* mv x y; mkdir -p x/d; touch x/d/new */
	changed(2);
	reply_to(listing, &reply);
	is_str(req->names, "d ", "the new x is listed");
	see_new(fs, d);
	end_test();
}

/* The guest put another directory in the place of x/d. The list of x said so; the old
 * one's attributes, which nobody had said to have changed, were shown nevertheless. */
static void replaced_in_a_list(void)
{
	static const char *const names[] = {"d", NULL};
	struct fs *fs = mount_it();
	struct files_node *x = meet(fs, root, "x", 1, attr_of(S_IFDIR, 10));
	struct files_node *d = know_old(fs, x);
	const struct files_attr now = attr_of(S_IFDIR, 21);
	const struct files_reply reply = list_reply(4, attr_of(S_IFDIR, 10), names, now);
	struct fuse_req *req;

	changed(2); /* mv x/d y; mkdir x/d; touch x/d/new */
	list_dir(fs, x, false);
	answer(FILES_LIST, &reply);
	req = lookup(fs, x, "d");
	is_int(hear(), 0, "x was listed, and its d is known");
	ok(req->entry.attr.st_ino == files_ino(box->serial, &now), "to be the new one");
	see_new(fs, d);
	end_test();
}

/* Nobody waited for a truncate(2) any more, and what the guest then did had nobody to
 * learn of it: the old size was shown for as long as attributes are kept. */
static void truncated_late(void)
{
	struct fs *fs = mount_it();
	struct files_attr attr = attr_of(S_IFREG, 40);
	struct files_node *file = meet(fs, root, "t", 30, attr);
	const struct node node = node_of(fs, file);
	const struct stat size = {.st_size = 5};
	struct files_reply reply = attr_reply(30, attr);
	struct fuse_req *req = request(fs);
	uint32_t slow;

	guest_setattr(req, &node, &size, FUSE_SET_ATTR_SIZE, NULL);
	slow = hear_one(FILES_SETATTR);
	req->interrupt(req, req->data);
	later(2);
	is_int(req->error, EINTR, "an interrupted truncate gives up");
	hear();
	getattr(fs, file);
	answer(FILES_LOOKUP, &reply);
	attr.size = 5;
	reply = attr_reply(30, attr);
	reply_to(slow, &reply);
	req = getattr(fs, file);
	answer(FILES_LOOKUP, &reply);
	is_int(req->entry.attr.st_size, 5, "when the guest did it, the new size is shown");
	end_test();
}

/* What one mount made in a directory was absent when the answer to the other mount's
 * mkdir(2) said that the directory was empty. */
static void made_in_a_new_directory(void)
{
	struct fs *fs = mount_it(), *other = mount_it();
	struct files_node *p = meet(fs, root, "p", 50, attr_of(S_IFDIR, 60)), *d;
	const struct node in_p = node_of(fs, p);
	struct files_reply made = attr_reply(51, attr_of(S_IFDIR, 61));
	struct files_reply created = open_reply(7, attr_of(S_IFREG, 62));
	struct fuse_file_info fi = {.flags = O_WRONLY | O_CREAT};
	struct fuse_req *req;
	struct node in_d;
	uint32_t mkdir_stream;

	guest_mkdir(request(fs), &in_p, "d", 0755);
	mkdir_stream = hear_one(FILES_MKDIR);
	d = meet(other, p, "d", 51, attr_of(S_IFDIR, 61));
	in_d = node_of(other, d);
	guest_create(request(other), &in_d, "f", 0644, &fi);
	created.watch = 52;
	created.has_dir = true;
	created.dir = attr_of(S_IFDIR, 61);
	answer(FILES_OPEN, &created);
	made.watch2 = 52;
	made.value = 1;
	made.has_dir = made.has_dir2 = true;
	made.dir = attr_of(S_IFDIR, 60);
	made.dir2 = attr_of(S_IFDIR, 61);
	reply_to(mkdir_stream, &made);
	req = lookup(other, d, "f");
	is_int(hear(), 0, "what was just made is known");
	is_int(req->error, 0, "to be there");
	end_test();
}

/* The kernel tries an open(2) once more after ESTALE, and then the program gets it: so
 * did who opened a file that a program of the guest replaces all the time. */
static void replaced_again_and_again(void)
{
	struct fs *fs = mount_it();
	struct files_node *file = meet(fs, root, "r", 80, attr_of(S_IFREG, 90));
	struct files_reply reply = open_reply(8, attr_of(S_IFREG, 91));
	struct fuse_req *req = open_file(fs, file, O_RDONLY);
	uint32_t opening = hear_one(FILES_OPEN);

	changed(80);
	reply_to(opening, &reply);
	if (req->error == ESTALE) {
		hear();
		file = meet(fs, root, "r", 81, attr_of(S_IFREG, 91));
		reply = open_reply(9, attr_of(S_IFREG, 92));
		req = open_file(fs, file, O_RDONLY);
		answer(FILES_OPEN, &reply);
	}
	is_int(req->error, 0, "a file that is replaced all the time can be opened");
	end_test();
}

/* Let the mount read the file, under a handle of its own. */
static struct fuse_req *read_all(struct fs *fs, struct files_node *file, uint32_t handle,
				 struct files_attr attr)
{
	const struct files_reply opened = open_reply(handle, attr), data = data_reply(100);
	struct fuse_req *open = open_file(fs, file, O_RDONLY);

	answer(FILES_OPEN, &opened);
	read_at(open, 0);
	answer(FILES_READ, &data);
	close_file(open);
	hear();
	return open;
}

/* A mount kept what it had of a file, because another mount had read what is in it now. */
static void contents_of_two_mounts(void)
{
	struct fs *fs = mount_it(), *other = mount_it();
	struct files_attr first = attr_of(S_IFREG, 95), second = first;
	struct files_node *file;
	struct files_reply opened;
	struct fuse_req *req;

	second.ctime_ns++;
	file = meet(fs, root, "c", 100, first);
	read_all(fs, file, 21, first);
	changed(100);
	meet(other, root, "c", 101, second);
	req = read_all(other, file, 22, second);
	ok(!req->fi.keep_cache, "the other mount reads what is new");
	opened = open_reply(23, second);
	req = open_file(fs, file, O_RDONLY);
	answer(FILES_OPEN, &opened);
	ok(!req->fi.keep_cache, "and the first one, which has what was there before, too");
	end_test();
}

/* A name was looked up in a directory that changed places meanwhile: the answer was of
 * the other one. */
static void changed_places(void)
{
	struct fs *fs = mount_it();
	struct files_attr x_attr = attr_of(S_IFDIR, 120), y_attr = attr_of(S_IFDIR, 121);
	struct files_node *x = meet(fs, root, "x", 110, x_attr);
	struct files_node *y = meet(fs, root, "y", 110, y_attr);
	const struct node top = node_of(fs, root);
	struct files_reply renamed = attr_reply(110, x_attr);
	struct files_reply late = attr_reply(112, attr_of(S_IFREG, 130));
	const struct files_reply none = {.watch = 113, .error = ENOENT};
	struct fuse_req *req;
	uint32_t looking;

	lookup(fs, x, "n");
	looking = hear_one(FILES_LOOKUP);
	guest_rename(request(fs), &top, "x", &top, "y", RENAME_EXCHANGE);
	renamed.watch2 = 110;
	renamed.has_dir = renamed.has_attr2 = renamed.has_dir2 = true;
	renamed.attr2 = y_attr;
	renamed.dir = renamed.dir2 = attr_of(S_IFDIR, 2);
	answer(FILES_RENAME, &renamed);
	is_str(x->name, "y", "x and y");
	is_str(y->name, "x", "have changed places");
	reply_to(looking, &late);
	req = lookup(fs, x, "n");
	answer(FILES_LOOKUP, &none);
	is_int(req->error, ENOENT, "what is in the one is not in the other");
	end_test();
}

/* The answer to a writer was the last one that its mount owed, and ended it, and closed
 * its files; that answered the next writer, who was answered again. */
static void blocked_writers(void)
{
	static const char data[1 << 20];
	struct fs *fs = mount_it(), *other = mount_it();
	struct files_attr attr = attr_of(S_IFREG, 150);
	struct files_node *file = meet(fs, root, "w", 140, attr);
	struct files_reply opened = open_reply(31, attr), written = attr_reply(-1, attr);
	struct fuse_req *mine = open_file(fs, file, O_WRONLY), *its, *my_write, *its_write;
	unsigned count;

	answer(FILES_OPEN, &opened);
	opened.handle++;
	its = open_file(other, file, O_WRONLY);
	answer(FILES_OPEN, &opened);
	for (off_t i = 0; i < 5; i++)
		guest_write(request(fs), data, sizeof(data), i << 20, &mine->fi);
	its_write = request(other);
	guest_write(its_write, data, sizeof(data), 100 << 20, &its->fi);
	my_write = request(fs);
	guest_write(my_write, data, sizeof(data), 200 << 20, &mine->fi);
	is_int(its_write->answers + my_write->answers, 0, "two writers wait for room");
	unmount_it(other);
	while ((count = hear())) {
		for (unsigned i = 0; i < count; i++) {
			written.value = questions[i].request.data_len;
			reply_to(questions[i].stream, &written);
		}
	}
	is_int(its_write->answers, 1, "that of a mount that goes is answered");
	is_int(my_write->answers, 1, "and so is the other, once");
	end_test();
}

/* docs/files.md: a file that is opened without the guest is open there as well after
 * 10 ms. One that is removed or replaced before is ESTALE, where the kernel has not got
 * what is read. */
static void replaced_when_just_opened(void)
{
	struct fs *fs = mount_it();
	struct files_attr attr = attr_of(S_IFREG, 160);
	struct files_node *file = meet(fs, root, "h", 170, attr);
	const struct files_reply other = open_reply(42, attr_of(S_IFREG, 161));
	struct fuse_req *open, *req;
	unsigned count;

	read_all(fs, file, 41, attr);
	open = open_file(fs, file, O_RDONLY);
	is_int(open->answers, 1, "what the kernel has is open without the guest");
	ok(open->fi.keep_cache, "and need not be read again");
	files_cache_changed(box->files, 170);
	req = read_at(open, READ_BYTES);
	count = hear(); /* two, if that takes 10 ms */
	for (unsigned i = 0; i < count; i++)
		reply_to(questions[i].stream, &other);
	is_int(req->error, ESTALE, "what it has not is ESTALE when that is another file");
	end_test();
}

#define HANDLE 50u /* and up: what the guest opens */

/* A guest that has a file under a name until it is told to remove that, or to rename
 * another one over it. It answers until it is asked nothing more. Return: whether it was
 * asked for anything by that name afterwards. */
static bool answer_all(struct files_attr attr, bool *named)
{
	const struct files_reply data = data_reply(100),
				 none = {.watch = -1, .error = ENOENT};
	const struct files_reply done = {.watch = -1},
				 known_by_handle = attr_reply(-1, attr);
	static uint32_t handle = HANDLE;
	bool late = false;
	unsigned count;

	while ((count = hear())) {
		for (unsigned i = 0; i < count; i++) {
			const struct question *q = &questions[i];
			struct files_reply opened = open_reply(handle, attr);

			late |= q->request.op == FILES_OPEN && !*named;
			if (q->request.op == FILES_OPEN) {
				reply_to(q->stream, *named ? &opened : &none);
				handle++;
			} else if (q->request.op == FILES_READ) {
				reply_to(q->stream, &data);
			} else if (q->request.op == FILES_GETATTR) {
				reply_to(q->stream,
					 q->request.handle ? &known_by_handle : &none);
			} else {
				*named &= q->request.op != FILES_UNLINK &&
					  q->request.op != FILES_RENAME;
				reply_to(q->stream, &done);
			}
		}
	}
	return late;
}

/* open(2), unlink(2), and what the temporary file is for: two of these, of a file that the
 * kernel has in its cache, came within 10 ms, and who had it open was told ESTALE. */
static void removed_when_just_opened(bool renamed)
{
	struct fs *fs = mount_it();
	struct files_attr attr = attr_of(S_IFREG, 260);
	struct files_node *file = meet(fs, root, "u", 270, attr);
	struct fuse_req *open[2], *req = request(fs), *stat, *read;
	const struct node top = node_of(fs, root);
	bool named = true;

	meet(fs, root, "v", 270, attr_of(S_IFREG, 261));
	read_all(fs, file, 49, attr);
	for (unsigned i = 0; i < 2; i++) {
		open[i] = open_file(fs, file, O_RDONLY);
		is_int(open[i]->answers, 1,
		       "what the kernel has is open without the guest");
	}
	if (renamed)
		guest_rename(req, &top, "v", &top, "u", 0);
	else
		guest_unlink(req, &top, "u");
	ok(!answer_all(attr, &named), "the guest opens it while it has its name");
	ok(req->answers == 1 && !req->error && !named, "which it loses then");
	for (unsigned i = 0; i < 2; i++) {
		stat = getattr(fs, file);
		read = read_at(open[i], READ_BYTES);
		answer_all(attr, &named);
		is_int(stat->error, 0, "who has it open may look at it");
		is_int(read->error, 0, "and read it");
		close_file(open[i]);
	}
	end_test();
}

/* Who unlinks waits no longer, and the name stays. */
static void removal_given_up(void)
{
	struct fs *fs = mount_it();
	struct files_attr attr = attr_of(S_IFREG, 280);
	struct files_node *file = meet(fs, root, "w", 290, attr);
	const struct files_reply opened = open_reply(48, attr), late = open_reply(47, attr);
	const struct files_reply data = data_reply(100);
	const struct node top = node_of(fs, root);
	struct fuse_req *open, *unlink = request(fs), *read;
	uint32_t opening;

	read_all(fs, file, 46, attr);
	open = open_file(fs, file, O_RDONLY);
	guest_unlink(unlink, &top, "w");
	opening = hear_one(FILES_OPEN);
	unlink->interrupt(unlink, unlink->data);
	later(2);
	is_int(unlink->error, EINTR, "an interrupted unlink gives up");
	spin(20);
	answer(FILES_OPEN, &opened);
	reply_to(opening, &late);
	hear_one(FILES_CLOSE); /* the one that came too late */
	read = read_at(open, READ_BYTES);
	answer(FILES_READ, &data);
	is_int(read->error, 0, "and the file is open all the same");
	close_file(open);
	end_test();
}

/* Attributes of a complete listing count for a minute. What was then asked of a name was
 * not learnt, so that each stat(2) went to the guest from then on. */
static void listed_long_ago(void)
{
	static const char *const names[] = {"1", "2", "3", "4", "5", NULL};
	struct fs *fs = mount_it();
	struct files_node *dir = meet(fs, root, "l", 300, attr_of(S_IFDIR, 199));
	struct files_reply reply =
	    list_reply(301, attr_of(S_IFDIR, 199), names, attr_of(S_IFREG, 200));
	unsigned asked_for = 0;

	reply.links_told = true;
	list_dir(fs, dir, true);
	answer(FILES_LIST, &reply);
	dir->large = true; /* it is not fetched ahead */
	getattr(fs, known(dir, "1"));
	is_int(hear(), 0, "what was listed is known");
	later(FILES_ATTR_MS / 1000 + 1);
	for (uint64_t i = 0; i < 15; i++) {
		getattr(fs, known(dir, names[i % 5]));
		if (!hear())
			continue;
		asked_for++;
		reply = attr_reply(301, attr_of(S_IFREG, 200 + i % 5));
		reply.links_told = true;
		reply_to(questions[0].stream, &reply);
	}
	is_int(asked_for, 5, "a minute later each name is asked for once");
	end_test();
}

/* A complete listing has the answers to lookups with it: to as many as names, which the
 * kernel forgets as others. */
static void listed_with_attributes(void)
{
	static const char *const names[] = {"a", "b", "c", NULL};
	struct fs *fs = mount_it();
	struct files_attr first = attr_of(S_IFREG, 210);
	struct files_node *dir = meet(fs, root, "plus", 310, attr_of(S_IFDIR, 209));
	struct files_reply reply;
	struct fuse_req *req;
	uint32_t before = box->files->node_count;

	first.size = 1234;
	reply = list_reply(311, attr_of(S_IFDIR, 209), names, first);
	list_dir(fs, dir, true);
	answer(FILES_LIST, &reply);
	req = list_dir(fs, dir, true);
	is_int(hear(), 0, "a directory that was listed is listed without the guest");
	is_str(req->names, "a b c ", "all names");
	is_int(req->looked_up_count, 3, "with what they stand for");
	for (unsigned i = 0; i < 3; i++)
		ok(req->listed[i].st_size == 1234 && S_ISREG(req->listed[i].st_mode),
		   "and the attributes of number %u", i);
	is_int(known(dir, "b")->lookups, 2, "each list is a lookup");
	forget_looked_up(req);
	is_int(known(dir, "b")->lookups, 1, "that the kernel forgets");
	getattr(fs, known(dir, "b"));
	is_int(hear(), 0, "the attributes are known");
	is_int(box->files->node_count, before + 3, "three nodes are known");
	end_test();
}

/* For a directory that is none, or the other way round, the kernel answers EIO and keeps
 * nothing; it counted as looked up for ever. */
static void another_type_is_made(void)
{
	struct fs *fs = mount_it();
	const struct files_reply file = attr_reply(-1, attr_of(S_IFREG, 220));
	const struct files_reply dir = attr_reply(-1, attr_of(S_IFDIR, 221));
	const struct node top = node_of(fs, root);
	struct fuse_req *req = request(fs);

	guest_mkdir(req, &top, "d", 0755);
	answer(FILES_MKDIR, &file);
	is_int(req->error, EIO, "a directory that is a file is EIO");
	req = request(fs);
	guest_symlink(req, "target", &top, "s");
	answer(FILES_SYMLINK, &dir);
	is_int(req->error, EIO, "a symbolic link that is a directory");
	req = request(fs);
	guest_mknod(req, &top, "p", S_IFIFO | 0644);
	answer(FILES_MKNOD, &file);
	is_int(req->error, EIO, "and a pipe that is a file");
	is_int(box->files->node_count, 1, "and nothing is known of them");
	end_test();
}

/* One frame of the guest's says the same number very often. Return: the clock ticks that
 * this took. */
static clock_t flood(uint32_t watch)
{
	static uint8_t bytes[AGENT_PAYLOAD_MAX];
	const struct agent_frame frame = {
	    .type = AGENT_FILES_CHANGED, .payload = bytes, .len = sizeof(bytes)};
	struct cursor c = cursor_into(bytes, sizeof(bytes));
	struct error err;
	clock_t before;

	while (cursor_left(&c))
		cursor_put_u32(&c, watch);
	before = clock();
	is_int(files_frame(box, &frame, &err), 0, "a flood of changes is taken");
	return clock() - before;
}

/* "Everything may have changed" in each of 70,000 places of a frame cleared all that is
 * known as often, and pffs did nothing else meanwhile. */
static void all_has_changed(void)
{
	struct fs *fs = mount_it();
	struct files_attr attr = attr_of(S_IFREG, 230);
	struct files_node *file = meet(fs, root, "f", 320, attr);
	const struct files_reply reply = attr_reply(321, attr);
	clock_t one = flood(319), all;

	getattr(fs, file);
	is_int(hear(), 0, "what the guest says of other directories ends nothing");
	forgotten = 0;
	all = flood(UINT32_MAX);
	if (!ok(all <= 4 * one, "nor does it take much longer to hear often that all has"))
		diag("%jd us and %jd us", (intmax_t)all, (intmax_t)one);
	is_int(forgotten, 1, "the kernel is told once to forget what it has");
	getattr(fs, file);
	answer(FILES_LOOKUP, &reply);
	end_test();
}

/* A frozen sandbox is awakened by who uses its files. When there is no vmctl to do that,
 * they waited for ever. */
static void frozen_without_vmctl(void)
{
	struct fs *fs = mount_it();
	const struct node top = node_of(fs, root);
	struct fuse_req *looking, *statfs = request(fs);

	shutdown(peer, SHUT_RDWR);
	spin(30);
	box->state = SANDBOX_STORED;
	looking = lookup(fs, root, "z");
	guest_statfs(statfs, &top);
	spin(30);
	is_int(looking->error, EIO, "without vmctl a name of a frozen sandbox is EIO");
	is_int(statfs->error, EIO, "and so is the rest");
	box->state = SANDBOX_DEAD;
	end_test();
}

/* A mount that went under who waited for a lock was kept for ever. */
static void gone_while_locked(void)
{
	struct fs *fs = mount_it();
	struct files_attr attr = attr_of(S_IFREG, 300);
	struct files_node *file = meet(fs, root, "x", 310, attr);
	const struct files_reply opened = open_reply(60, attr), late = {.watch = -1};
	struct fuse_req *open = open_file(fs, file, O_RDONLY), *whole = request(fs),
			*part = request(fs);
	const struct flock some = {.l_type = F_RDLCK, .l_len = 1};
	uint32_t asked[2];

	answer(FILES_OPEN, &opened);
	guest_flock(whole, &open->fi, LOCK_EX);
	asked[0] = hear_one(FILES_FLOCK);
	guest_setlk(part, &open->fi, &some, true);
	asked[1] = hear_one(FILES_SETLK);
	is_int(fs->owed, 2, "two wait for locks");
	guest_lockers_end(fs);
	ok(whole->error == EINTR && part->error == EINTR, "which end with the mount");
	is_int(fs->owed, 0, "so that nothing is owed");
	for (unsigned i = 0; i < 2; i++)
		reply_to(asked[i], &late);
	close_file(open);
	end_test();
}

int main(void)
{
	begin_kit();
	replaced_while_listed();
	replaced_in_a_list();
	truncated_late();
	made_in_a_new_directory();
	replaced_again_and_again();
	contents_of_two_mounts();
	changed_places();
	blocked_writers();
	replaced_when_just_opened();
	removed_when_just_opened(false);
	removed_when_just_opened(true);
	removal_given_up();
	listed_long_ago();
	listed_with_attributes();
	another_type_is_made();
	all_has_changed();
	gone_while_locked();
	frozen_without_vmctl();
	end_world();
	return done_testing();
}
