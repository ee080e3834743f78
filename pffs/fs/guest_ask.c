/*
 * Asks: FUSE requests that wait for the guest.
 */
#include "pffs/fs/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * A program that is interrupted may be one that ends, or one that only got a signal that
 * it handles and does not expect stat(2) to fail for that. So an answer that is on its
 * way is waited for.
 */
#define PATIENCE_MS 1000u

#define NAME_SECONDS 1.0 /* that the kernel may take a name for known */

static void part_done(void *ctx, const struct files_reply *reply);

static void ask_free(struct ask *ask)
{
	struct fs *fs = ask->fs;

	list_del(&ask->wait);
	list_del(&ask->locker);
	loop_timer_cancel(&ask->patience);
	for (unsigned i = 0; i < ASK_PARTS; i++)
		if (ask->parts[i].call)
			files_cancel(ask->parts[i].call);
	if (ask->file)
		guest_file_unref(ask->file);
	if (ask->file2)
		guest_file_unref(ask->file2);
	guest_spare_end(ask);
	files_node_unref(ask->node);
	files_node_unref(ask->to);
	files_node_unref(ask->about);
	sandbox_unref(ask->sb);
	free(ask->data);
	free((void *)(uintptr_t)ask->request.data);
	free(ask);
	if (fs)
		fs_settle(fs);
}

void ask_fail(struct ask *ask, int error)
{
	if (ask->req)
		fuse_reply_err(ask->req, error);
	ask_free(ask);
}

/* Its program does not wait any more. Return: whether it goes on nevertheless. */
static bool leave(struct ask *ask)
{
	struct fs *fs = ask->fs;

	if (!ask->unlocks) {
		ask_fail(ask, EINTR);
		return false;
	}
	loop_timer_cancel(&ask->patience);
	fuse_reply_err(ask->req, EINTR);
	ask->req = NULL;
	ask->fs = NULL;
	fs_settle(fs);
	return true;
}

static void patience_ends(struct loop_timer *timer)
{
	leave(container_of(timer, struct ask, patience));
}

struct ask *ask_new(fuse_req_t req, const struct node *node, int op)
{
	struct ask *ask = malloc(sizeof(*ask));

	if (!ask) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	/* The room for paths is large, and written before it is read. */
	memset(ask, 0, offsetof(struct ask, request.paths));
	ask->fs = fuse_req_userdata(req);
	fs_owe(ask->fs);
	ask->req = req;
	ask->sb = sandbox_ref(node->sb);
	ask->node = files_node_ref(node->file);
	ask->request.op = (uint8_t)op;
	list_init(&ask->wait);
	list_init(&ask->locker);
	loop_timer_init(&ask->patience, patience_ends);
	for (unsigned i = 0; i < ASK_PARTS; i++)
		ask->parts[i].ask = ask;
	return ask;
}

static bool take_name(struct ask *ask, const char *name, char to[FILES_NAME_MAX + 1])
{
	size_t len = strlen(name);

	if (len > FILES_NAME_MAX) {
		ask_fail(ask, ENAMETOOLONG);
		return false;
	}
	memcpy(to, name, len + 1);
	return true;
}

bool ask_name(struct ask *ask, const char *name)
{
	ask->named = true;
	return take_name(ask, name, ask->name);
}

bool ask_to(struct ask *ask, struct files_node *dir, const char *name)
{
	ask->to = files_node_ref(dir);
	ask->to_named = true;
	return take_name(ask, name, ask->to_name);
}

void ask_by(struct ask *ask, struct guest_file *file)
{
	ask->file = guest_file_ref(file);
	ask_after(ask, file->node);
}

void ask_after(struct ask *ask, struct files_node *node)
{
	files_node_unref(ask->about);
	ask->about = files_node_ref(node);
}

void ask_whose(struct ask *ask)
{
	const struct fuse_ctx *who = fuse_req_ctx(ask->req);

	ask->request.uid = files_swap_id(who->uid, ask->sb->uid);
	ask->request.gid = files_swap_id(who->gid, ask->sb->gid);
}

void ask_done(struct ask *ask, const struct files_reply *reply)
{
	if (ask->req)
		fuse_reply_err(ask->req, reply->error);
}

static void reopened(void *ctx, const struct files_reply *reply)
{
	struct ask *ask = ctx;
	int error = guest_file_reopened(ask->reopening, reply);

	ask->parts[0].call = NULL;
	if (error)
		ask_fail(ask, error);
	else
		ask_send(ask);
}

/* Return: the path and handle fields, 0 or -errno. */
static int fill(struct ask *ask)
{
	struct files_request *request = &ask->request;
	char *path2 = request->paths + FILES_PATH_MAX + 1;
	int r = 0;

	if (ask->file)
		request->handle = ask->file->handle;
	if (ask->file2)
		request->handle2 = ask->file2->handle;
	if (!request->handle) {
		r = files_node_path(ask->node, ask->named ? ask->name : NULL,
				    request->paths);
		request->path = request->paths;
		if (r == -ESTALE && (ask->named || request->op == FILES_LIST))
			r = -ENOENT; /* as in any directory that was removed */
	}
	if (r == 0 && ask->to) {
		r = files_node_path(ask->to, ask->to_named ? ask->to_name : NULL, path2);
		request->path2 = path2;
	}
	return r;
}

/* The node that the ask is about: one that is there already. */
static struct files_node *file_of(const struct ask *ask)
{
	return ask->file2 ? ask->file2->node : ask->file ? ask->file->node : ask->node;
}

/* The directory of which the answer tells something. */
static struct files_node *directory_of(const struct ask *ask)
{
	bool itself = ask->named || ask->request.op == FILES_LIST ||
		      (ask->request.op == FILES_GETATTR && ask->node->type == S_IFDIR);

	return itself ? ask->node : file_of(ask)->parent;
}

int32_t ask_watch(const struct ask *ask, const struct files_reply *reply)
{
	return files_cache_same(directory_of(ask), &ask->asked) ? reply->watch : -1;
}

int32_t ask_watch_to(const struct ask *ask, const struct files_reply *reply)
{
	return files_cache_same(ask->to, &ask->asked_to) ? reply->watch2 : -1;
}

void ask_changed_name(struct ask *ask, int32_t watch, const struct files_reply *reply,
		      const struct files_attr *attr)
{
	files_cache_change(ask->node, watch, ask->name, attr,
			   guest_dir_attr(reply->has_dir, &reply->dir));
}

void ask_changed_to(struct ask *ask, int32_t watch, const struct files_reply *reply,
		    const struct files_attr *attr)
{
	files_cache_change(ask->to, watch, ask->to_name, attr,
			   guest_dir_attr(reply->has_dir2, &reply->dir2));
}

void ask_changed_file(struct ask *ask, int32_t watch, const struct files_reply *reply)
{
	struct files_node *node = file_of(ask);
	const struct files_attr *attr = guest_attr(reply);
	bool good = attr && files_node_is(node, attr);

	if (node->parent)
		files_cache_change(node->parent, good ? watch : -1, node->name, attr, NULL);
}

void ask_changed(struct ask *ask, const struct files_reply *reply)
{
	if (!reply->error)
		ask_changed_file(ask, ask_watch(ask, reply), reply);
}

void ask_changed_done(struct ask *ask, const struct files_reply *reply)
{
	ask_changed(ask, reply);
	ask_done(ask, reply);
}

/* Until it is answered nobody is sure of what it changes. */
static void begin_change(const struct ask *ask)
{
	struct files_node *node = file_of(ask);

	if (!files_asks_change(&ask->request))
		return;
	if (ask->named)
		files_cache_unsure(ask->node, ask->name, true);
	else if (node->parent)
		files_cache_unsure(node->parent, node->name, false);
	if (ask->to)
		files_cache_unsure(ask->to, ask->to_name, true);
}

static int send_parts(struct ask *ask)
{
	struct files_request request = ask->request;
	uint64_t left = ask->data ? request.size : 1;
	int r = 0;

	if (request.path)
		request.path = ask->request.paths;
	begin_change(ask);
	ask->asked = files_cache_moment(directory_of(ask));
	ask->asked_to = files_cache_moment(ask->to);
	for (unsigned i = 0; r == 0 && left && i < ASK_PARTS; i++) {
		uint64_t part = left < FILES_IO_MAX ? left : FILES_IO_MAX;

		if (ask->data)
			request.size = part;
		r = files_request(ask->sb, &request, part_done, &ask->parts[i],
				  &ask->parts[i].call);
		ask->pending += r == 0;
		left -= part;
		request.offset += ask->data ? part : 0;
	}
	return r;
}

static struct guest_file *stale_file(const struct ask *ask)
{
	if (ask->file && !guest_file_live(ask->file))
		return ask->file;
	return ask->file2 && !guest_file_live(ask->file2) ? ask->file2 : NULL;
}

void ask_send(struct ask *ask)
{
	static const struct files_reply nothing = {.watch = -1};
	int r;

	if (guest_spare(ask))
		return;
	if (ask->request.op == ASK_NOTHING) {
		ask->answer(ask, &nothing);
		ask_free(ask);
		return;
	}
	ask->reopening = stale_file(ask);
	if (ask->reopening) {
		r = guest_file_reopen(ask->reopening, reopened, ask, &ask->parts[0].call);
	} else {
		r = fill(ask);
		if (r == 0)
			r = send_parts(ask);
	}
	if (r < 0)
		ask_fail(ask, -r);
}

/* The guest does not know the handle: its file server is a new one. Once. */
static bool again(struct ask *ask, int error)
{
	if (error != EBADF || !ask->file || ask->reopened)
		return false;
	ask->reopened = true;
	ask->error = 0;
	guest_file_lost(ask->file, ask->request.handle);
	if (ask->file2)
		guest_file_lost(ask->file2, ask->request.handle2);
	ask_send(ask);
	return true;
}

/* Return: a positive errno, or 0. */
static int take_part(struct ask *ask, struct ask_part *part,
		     const struct files_reply *reply)
{
	size_t at = (size_t)(part - ask->parts) * FILES_IO_MAX;
	size_t room = ask->request.size - at;

	part->got = 0;
	if (reply->error || !ask->data)
		return reply->error;
	if (reply->data_len > room || reply->data_len > FILES_IO_MAX)
		return EIO;
	memcpy(ask->data + at, reply->data, reply->data_len);
	part->got = reply->data_len;
	return 0;
}

static void part_done(void *ctx, const struct files_reply *reply)
{
	struct ask_part *part = ctx;
	struct ask *ask = part->ask;
	struct files_reply shown = *reply;
	int error = take_part(ask, part, reply);

	part->call = NULL;
	if (!ask->error)
		ask->error = error;
	if (--ask->pending || again(ask, ask->error))
		return;
	shown.error = ask->error == EBADF && ask->file ? EIO : ask->error;
	ask->answer(ask, &shown);
	ask_free(ask);
}

static void interrupted(fuse_req_t req, void *data)
{
	struct ask *ask = data;
	bool sent = false;

	(void)req;
	for (unsigned i = 0; i < ASK_PARTS; i++)
		sent |= ask->parts[i].call && files_sent(ask->parts[i].call);
	if (!list_empty(&ask->locker) || (!sent && list_empty(&ask->wait)))
		leave(ask);
	else
		loop_timer_set(ask->sb->core->loop, &ask->patience, PATIENCE_MS);
}

void ask_go(struct ask *ask, ask_fn *answer)
{
	ask->answer = answer;
	/* Asked first: libfuse would call back at once, inside its own lock. */
	if (fuse_req_interrupted(ask->req) && !leave(ask))
		return;
	if (ask->req)
		fuse_req_interrupt_func(ask->req, interrupted, ask);
	if (ask->about && !list_empty(&ask->about->writes)) {
		ask->after = ask->about->written;
		list_add_before(&ask->about->settle, &ask->wait);
		guest_write_hurry(ask->about);
	} else {
		ask_send(ask);
	}
}

void ask_settled(struct files_node *node)
{
	struct ask *ask;

	files_node_ref(node);
	while (!list_empty(&node->settle)) {
		ask = container_of(node->settle.next, struct ask, wait);
		if (!guest_write_arrived(node, ask->after))
			break;
		list_del(&ask->wait);
		ask_send(ask);
	}
	files_node_unref(node);
}

static struct timespec time_of(int64_t ns)
{
	int64_t seconds = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		seconds--;
		rest += 1000000000;
	}
	return (struct timespec){.tv_sec = seconds, .tv_nsec = rest};
}

void guest_stat(const struct sandbox *sb, const struct files_attr *attr, struct stat *st)
{
	*st = (struct stat){
	    .st_ino = files_ino(sb->serial, attr),
	    .st_mode = attr->mode,
	    .st_nlink = attr->nlink,
	    .st_uid = files_swap_id(attr->uid, sb->uid),
	    .st_gid = files_swap_id(attr->gid, sb->gid),
	    .st_rdev = attr->rdev,
	    .st_size = (off_t)attr->size,
	    .st_blksize = 4096,
	    .st_blocks = (blkcnt_t)attr->blocks,
	    .st_atim = time_of(attr->atime_ns),
	    .st_mtim = time_of(attr->mtime_ns),
	    .st_ctim = time_of(attr->ctime_ns),
	};
}

/* The only mount. */
static struct fs *mount_of(const struct core *core)
{
	return container_of(core->mounts.next, struct fs, mount.link);
}

/* What a name stands for is found out when the attributes are asked for. But a file that
 * is open and has lost its name has attributes all the same, and nobody asks for those of
 * a symbolic link before following it: these names are looked up each time. So are those
 * that another mount may move.
 * @seconds: for how long its attributes are true, if nobody says otherwise. */
static double name_seconds(const struct files_node *node, double seconds)
{
	const struct core *core = node->files->sb->core;

	if (!list_empty(&node->opens) || node->type == S_IFLNK || core_mounted_twice(core))
		return 0;
	mount_of(core)->mount.names = true;
	if (seconds > 0 && node->parent && node->parent->listing &&
	    mount_of(core)->stale.epochs)
		return seconds;
	return NAME_SECONDS;
}

double guest_seconds(struct files_node *node)
{
	return files_cache_show(node) / 1000.0;
}

int guest_stale(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP ? ESTALE : error;
}

struct files_node *guest_entry(struct files_node *dir, const char *name,
			       const struct files_attr *attr,
			       struct fuse_entry_param *entry)
{
	struct files_node *node = files_node_get(dir, name, attr);
	double seconds;

	if (!node)
		return NULL;
	node->lookups++;
	seconds = guest_seconds(node);
	*entry = (struct fuse_entry_param){
	    .ino = node_ino_of(dir->files->sb, node),
	    .generation = node->generation,
	    .entry_timeout = name_seconds(node, seconds),
	    .attr_timeout = seconds,
	};
	guest_stat(dir->files->sb, attr, &entry->attr);
	return node;
}

void guest_reply_entry(fuse_req_t req, struct files_node *dir, const char *name,
		       const struct files_attr *attr)
{
	struct fuse_entry_param entry;
	struct files_node *node = guest_entry(dir, name, attr, &entry);

	if (!node)
		fuse_reply_err(req, ENOMEM);
	else if (fuse_reply_entry(req, &entry) == -ENOENT)
		files_node_forget(node, 1); /* it was interrupted: the kernel has no node */
}
