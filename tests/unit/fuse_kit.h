/*
 * For tests of a sandbox's fs/: mounts whose kernel the test plays, and the guest too.
 *
 * Theory of operation: a request is one of the kernel's, and keeps what it was answered;
 * it takes the place of libfuse's. The operations of pffs/fs/guest.h are called with it,
 * as pffs/fs/operations.h would. What they ask the guest is in questions[] after hear().
 * Time passes only as much faster as the test says (later()).
 */
#pragma once

#include "tests/unit/put_reply.h"
#include "tests/unit/world.h"

#include "pffs/core/template.h"
#include "pffs/fs/guest.h"
#include "pffs/fs/node.h"

#include <linux/fuse.h>
#include <sys/syscall.h>
#include <time.h>

#define VM	       5u
#define QUESTIONS      64
#define LISTED_MAX     16
#define READ_BYTES     65536
#define QUIET_ROUNDS   3    /* of nothing new: the core has sent all that it can */
#define GUEST_DATA_MAX 4096 /* bytes that the guest has at hand */

struct fuse_req {
	struct link link; /* on requests */
	struct fs *fs;
	bool lists; /* it reads a directory */
	bool plus;  /* with attributes */
	unsigned answers;
	int error;
	struct fuse_entry_param entry;
	struct fuse_file_info fi;
	char names[128]; /* that were listed, each with a blank behind it */
	struct stat listed[LISTED_MAX];
	fuse_ino_t looked_up[LISTED_MAX + 1]; /* a lookup each */
	unsigned listed_count, looked_up_count;
	fuse_interrupt_func_t interrupt;
	void *data;
};

static struct link requests;
static struct sandbox *box;
static struct files_node *root;
static time_t skew;	   /* of the clock, in seconds */
static unsigned forgotten; /* inodes whose attributes the kernel was told to forget */

/* What the guest was asked, since the last hear(). */
static struct question {
	uint32_t stream;
	struct files_request request; /* its data are gone */
} questions[QUESTIONS];

/* libfuse's. */

int fuse_reply_err(fuse_req_t req, int error)
{
	req->answers++;
	req->error = error;
	return 0;
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *entry)
{
	req->answers++;
	req->entry = *entry;
	req->looked_up[req->looked_up_count++] = entry->ino;
	return 0;
}

int fuse_reply_attr(fuse_req_t req, const struct stat *attr, double attr_timeout)
{
	req->answers++;
	req->entry.attr = *attr;
	req->entry.attr_timeout = attr_timeout;
	return 0;
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	req->answers++;
	req->fi = *fi;
	return 0;
}

int fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *entry,
		      const struct fuse_file_info *fi)
{
	fuse_reply_entry(req, entry);
	req->fi = *fi;
	return 0;
}

int fuse_reply_write(fuse_req_t req, size_t count)
{
	(void)count;
	req->answers++;
	return 0;
}

static void take_attributes(fuse_req_t req, const char *buf)
{
	struct fuse_entry_out entry;

	memcpy(&entry, buf, sizeof(entry));
	if (req->listed_count == LISTED_MAX)
		abort();
	req->listed[req->listed_count++] =
	    (struct stat){.st_mode = entry.attr.mode, .st_size = (off_t)entry.attr.size};
	if (entry.nodeid)
		req->looked_up[req->looked_up_count++] = entry.nodeid;
}

/* One entry of a directory, as the kernel takes it. Return: its bytes. */
static size_t take_listed(fuse_req_t req, const char *buf)
{
	size_t head = req->plus ? sizeof(struct fuse_entry_out) : 0;
	size_t used = strlen(req->names);
	struct fuse_dirent entry;

	if (req->plus)
		take_attributes(req, buf);
	memcpy(&entry, buf + head, FUSE_NAME_OFFSET);
	snprintf(req->names + used, sizeof(req->names) - used, "%.*s ", (int)entry.namelen,
		 buf + head + FUSE_NAME_OFFSET);
	return head + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
}

int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	req->answers++;
	for (size_t at = 0; req->lists && at < size;)
		at += take_listed(req, buf + at);
	return 0;
}

void *fuse_req_userdata(fuse_req_t req)
{
	return req->fs;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	static const struct fuse_ctx root_user;

	(void)req;
	return &root_user;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data)
{
	req->interrupt = func;
	req->data = data;
}

int fuse_req_interrupted(fuse_req_t req)
{
	(void)req;
	return 0;
}

int fuse_lowlevel_notify_inval_inode(struct fuse_session *session, fuse_ino_t ino,
				     off_t offset, off_t len)
{
	(void)session;
	(void)ino;
	(void)offset;
	(void)len;
	forgotten++;
	return 0;
}

/* The kernel is one that does not know of epochs of names. */
int fuse_session_fd(struct fuse_session *session)
{
	(void)session;
	return -1;
}

/* What fs/ has of the rest of the mount. */

fuse_ino_t node_ino_of(const struct sandbox *sb, const struct files_node *file)
{
	return sb->serial << 32 | file->number << 8 | KIND_FILE;
}

bool node_may_see(const struct fs *fs, const struct sandbox *sb)
{
	(void)fs;
	(void)sb;
	return true;
}

void fs_owe(struct fs *fs)
{
	fs->owed++;
}

void fs_settle(struct fs *fs)
{
	if (--fs->owed == 0 && fs->source.fd < 0)
		fs->ended(fs);
}

/* The clock. */

int clock_gettime(clockid_t id, struct timespec *tp)
{
	int r = (int)syscall(SYS_clock_gettime, id, tp);

	if (id == CLOCK_MONOTONIC)
		tp->tv_sec += skew;
	return r;
}

/* So many seconds have passed. */
static void later(time_t seconds)
{
	skew += seconds;
	spin(5);
}

/* Mounts. */

static void mount_gone(struct fs *fs)
{
	if (fs->owed)
		return;
	guest_files_close(fs);
	guest_dirs_close(fs);
	stale_fini(fs);
	free(fs);
}

static struct fs *mount_it(void)
{
	struct fs *fs = calloc(1, sizeof(*fs));

	if (!fs)
		abort();
	fs->core = &core;
	fs->loop = core.loop;
	fs->source.fd = peer; /* any: it is mounted */
	fs->ended = mount_gone;
	list_init(&fs->guest_files);
	list_init(&fs->guest_dirs);
	list_init(&fs->guest_lockers);
	stale_init(fs);
	return fs;
}

/* It goes; if it owes answers, when these have been given. */
static void unmount_it(struct fs *fs)
{
	fs->source.fd = -1;
	mount_gone(fs);
}

/* The kernel's requests. */

static struct fuse_req *request(struct fs *fs)
{
	struct fuse_req *req = calloc(1, sizeof(*req));

	if (!req)
		abort();
	req->fs = fs;
	list_add_before(&requests, &req->link);
	return req;
}

static struct node node_of(struct fs *fs, struct files_node *file)
{
	return (struct node){.fs = fs,
			     .sb = box,
			     .file = file,
			     .kind = file->number ? KIND_FILE : KIND_FILES};
}

static struct fuse_req *lookup(struct fs *fs, struct files_node *dir, const char *name)
{
	const struct node node = node_of(fs, dir);
	struct fuse_req *req = request(fs);

	guest_lookup(req, &node, name);
	return req;
}

static struct fuse_req *getattr(struct fs *fs, struct files_node *file)
{
	const struct node node = node_of(fs, file);
	struct fuse_req *req = request(fs);

	guest_getattr(req, &node);
	return req;
}

static struct fuse_req *open_file(struct fs *fs, struct files_node *file, int flags)
{
	const struct node node = node_of(fs, file);
	struct fuse_file_info fi = {.flags = flags};
	struct fuse_req *req = request(fs);

	guest_open(req, &node, &fi);
	return req;
}

/* Of what @open has opened. */
static struct fuse_req *read_at(const struct fuse_req *open, off_t offset)
{
	struct fuse_file_info fi = open->fi;
	struct fuse_req *req = request(open->fs);

	guest_read(req, READ_BYTES, offset, &fi);
	return req;
}

static void close_file(const struct fuse_req *open)
{
	struct fuse_file_info fi = open->fi;

	guest_release(request(open->fs), &fi);
}

/* Open a directory, and read what is behind "." and "..". @plus: with attributes. */
static struct fuse_req *list_dir(struct fs *fs, struct files_node *dir, bool plus)
{
	const struct node node = node_of(fs, dir);
	struct fuse_req *open = request(fs), *req = request(fs);
	struct fuse_file_info fi = {0};

	guest_opendir(open, &node, &fi);
	guest_readdir(request(fs), READ_BYTES, 0, &open->fi, plus);
	req->lists = true;
	req->plus = plus;
	guest_readdir(req, READ_BYTES, 2, &open->fi, plus);
	return req;
}

/* The kernel forgets what the request has looked up. */
static void forget_looked_up(struct fuse_req *req)
{
	for (unsigned i = 0; i < req->looked_up_count; i++) {
		uint32_t number = req->looked_up[i] >> 8 & NODE_PART_MAX;
		struct files_node *node = files_node_at(box->files, number);

		if (ok(node && node->lookups, "what the kernel has looked up is known"))
			files_node_forget(node, 1);
	}
	req->looked_up_count = 0;
}

/* The guest. */

/* Take up what the guest is asked. There is room for all of it. Return: how many. */
static unsigned hear(void)
{
	struct buf *agent = &channels[VM];
	struct agent_frame frame;
	unsigned count = 0, quiet = 0;

	while (quiet < QUIET_ROUNDS) {
		size_t before = agent->len;

		if (box->channel.vmm) {
			box->channel.credit = LINK_WINDOW;
			vmm_flush(&box->channel);
		}
		spin(1);
		listen_to_core();
		quiet = agent->len > before ? 0 : quiet + 1;
	}
	while (agent_next(agent, &frame, NULL) == 1) {
		if (frame.type == AGENT_FILES && count < QUESTIONS) {
			files_get_request(&frame, &questions[count].request, NULL);
			questions[count++].stream = frame.stream;
		}
		buf_consume(agent, agent_frame_size(&frame));
	}
	return count;
}

static void reply_to(uint32_t stream, const struct files_reply *reply)
{
	struct buf agent = {0};
	struct agent_frame frame;

	put_reply(&agent, epoch, stream, reply);
	agent_next(&agent, &frame, NULL);
	say(VM, stream, AGENT_FILES_REPLY, frame.payload, frame.len);
	buf_fini(&agent);
}

/* Take up the one question that there is. Return: its stream. */
static uint32_t hear_one(int op)
{
	if (is_int(hear(), 1, "the guest is asked"))
		is_int(questions[0].request.op, op, "for that operation");
	return questions[0].stream;
}

/* The same, and answer it. */
static void answer(int op, const struct files_reply *reply)
{
	reply_to(hear_one(op), reply);
}

/* The guest says that a watch has ended. */
static void changed(uint32_t watch)
{
	uint8_t bytes[sizeof(watch)];
	struct cursor c = cursor_into(bytes, sizeof(bytes));

	cursor_put_u32(&c, watch);
	say(VM, 0, AGENT_FILES_CHANGED, bytes, sizeof(bytes));
}

static struct files_attr attr_of(mode_t type, uint64_t ino)
{
	return (struct files_attr){.mode = type | 0755,
				   .ino = ino,
				   .dev = 1,
				   .nlink = 1,
				   .mtime_ns = (int64_t)ino,
				   .ctime_ns = (int64_t)ino};
}

/* Attributes of a name, true until the watch ends. */
static struct files_reply attr_reply(int32_t watch, struct files_attr attr)
{
	return (struct files_reply){.watch = watch, .has_attr = true, .attr = attr};
}

/* A file was opened: @handle. */
static struct files_reply open_reply(uint32_t handle, struct files_attr attr)
{
	return (struct files_reply){
	    .watch = -1, .handle = handle, .has_attr = true, .attr = attr};
}

static struct files_reply data_reply(uint32_t len)
{
	static const uint8_t data[GUEST_DATA_MAX];

	return (struct files_reply){.watch = -1, .data = data, .data_len = len};
}

/* All of a directory; valid until the next one. Names end with NULL; each has the inode
 * of the first one and its number in the list. */
static struct files_reply list_reply(int32_t watch, struct files_attr self,
				     const char *const *names, struct files_attr first)
{
	static uint8_t data[GUEST_DATA_MAX];
	struct cursor c = cursor_into(data, sizeof(data));
	struct files_reply reply = attr_reply(watch, self);

	for (uint64_t i = 0; names[i]; i++) {
		struct files_entry entry = {.attr = first, .cookie = i + 1};

		entry.attr.ino += i;
		snprintf(entry.name, sizeof(entry.name), "%s", names[i]);
		files_put_entry(&c, &entry);
	}
	reply.value = 1;
	reply.data = data;
	reply.data_len = (uint32_t)(sizeof(data) - cursor_left(&c));
	return reply;
}

/* Who has that name; somebody has to know it. */
static struct files_node *known(struct files_node *dir, const char *name)
{
	struct files_node *node = files_node_find(dir, name);

	if (!ok(node, "%s is known", name))
		exit(1);
	return node;
}

/* The kernel gets to know a file. */
static struct files_node *meet(struct fs *fs, struct files_node *dir, const char *name,
			       int32_t watch, struct files_attr attr)
{
	const struct files_reply reply = attr_reply(watch, attr);

	lookup(fs, dir, name);
	answer(FILES_LOOKUP, &reply);
	return known(dir, name);
}

/* The sandbox is ready, and no request was made. */
static void begin_kit(void)
{
	const char *const names[] = {"demo"};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};
	struct error err;

	list_init(&requests);
	begin_world();
	template_fork(&core, 0, &order, NULL, NULL, &err);
	boot_template();
	box = sandbox_find(&core, FOLDER_ROOT, "demo");
	answer_newest(",\"vms\":[{\"vm\":5,\"pid\":2}],\"pause_usec\":1");
	say(VM, 0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(box), "ready", "a sandbox is ready");
	root = files_root(box);
	hear();
}

/* Unmount all, and forget all: nothing is left. */
static void end_test(void)
{
	struct core_mount *mount;
	struct fuse_req *req;
	unsigned count;

	list_for_each (mount, &core.mounts, struct core_mount, link) {
		struct fs *fs = container_of(mount, struct fs, mount);

		is_int(fs->owed, 0, "every request was answered");
		unmount_it(fs);
	}
	list_for_each (req, &requests, struct fuse_req, link) {
		ok(req->answers == 1, "once (%u)", req->answers);
		forget_looked_up(req);
		list_del(&req->link);
		free(req);
	}
	while ((count = hear()))
		for (unsigned i = 0; i < count; i++)
			reply_to(questions[i].stream, &(struct files_reply){.watch = -1});
	files_cache_clear(box->files);
	is_int(box->files->node_count, 1, "nothing of it stays");
}
