/*
 * Open files of the guest: opening, creating and closing them.
 */
#include "pffs/fs/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AHEAD_MAX  (64u << 10) /* bytes of a file that come with its being opened */
#define SOON_MS	   10u	       /* how long a file may be open without the guest */
#define AHEAD_EACH (16u << 20) /* bytes of a sandbox's that nobody has read yet */

struct guest_file *guest_file_ref(struct guest_file *file)
{
	file->refs++;
	return file;
}

bool guest_file_live(const struct guest_file *file)
{
	return file->handle && file->sb->files && file->epoch == file->sb->files->epoch;
}

void guest_file_unref(struct guest_file *file)
{
	const struct files_request request = {
	    .op = FILES_CLOSE, .flags = FILES_WATCH, .handle = file->handle};

	if (--file->refs)
		return;
	if (guest_file_live(file))
		files_request(file->sb, &request, NULL, NULL, NULL);
	guest_ahead_drop(file);
	loop_timer_cancel(&file->soon);
	if (file->opening)
		files_cancel(file->opening);
	list_del(&file->link);
	list_del(&file->open);
	buf_fini(&file->lockers);
	files_node_unref(file->node);
	limits_close(file->sb);
	sandbox_unref(file->sb);
	free(file);
}

static void opened_too(void *ctx, const struct files_reply *reply)
{
	struct guest_file *file = ctx;

	file->opening = NULL;
	guest_file_reopened(file, reply);
}

static void open_too(struct loop_timer *timer)
{
	struct guest_file *file = container_of(timer, struct guest_file, soon);

	if (!guest_file_live(file))
		guest_file_reopen(file, opened_too, file, &file->opening);
}

void guest_file_open_soon(struct guest_file *file)
{
	loop_timer_set(file->sb->core->loop, &file->soon, SOON_MS);
}

struct guest_file *guest_file_unopened(const struct files_node *node)
{
	struct guest_file *file;

	list_for_each (file, &node->opens, struct guest_file, link) {
		if ((!file->soon.deadline_ns && !file->opening) || guest_file_live(file))
			continue;
		loop_timer_cancel(&file->soon);
		if (file->opening)
			files_cancel(file->opening);
		file->opening = NULL;
		return guest_file_ref(file);
	}
	return NULL;
}

static struct guest_file *file_new(struct fs *fs, struct files_node *node, uint32_t flags)
{
	struct guest_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->sb = sandbox_ref(node->files->sb);
	limits_open(file->sb);
	file->node = files_node_ref(node);
	loop_timer_init(&file->soon, open_too);
	file->refs = 1;
	file->flags = flags & (FILES_O_READ | FILES_O_WRITE | FILES_O_APPEND);
	list_add_before(&node->opens, &file->link);
	list_add_before(&fs->guest_files, &file->open);
	return file;
}

int guest_file_reopen(struct guest_file *file, files_done_fn *done, void *ctx,
		      struct files_call **call)
{
	struct files_request request = {.op = FILES_OPEN, .flags = file->flags};
	int r = files_node_path(file->node, NULL, request.paths);

	request.path = request.paths;
	return r < 0 ? r : files_request(file->sb, &request, done, ctx, call);
}

void guest_file_lost(struct guest_file *file, uint32_t handle)
{
	if (file->handle == handle)
		file->handle = 0;
}

/* In the same machine it is to be the same file: another program of the guest may have
 * put another one in its place. */
static int check_reopened(const struct guest_file *file, const struct files_reply *reply)
{
	const struct files_attr *attr = guest_attr(reply);

	if (!attr || !S_ISREG(attr->mode))
		return EIO;
	return files_node_is(file->node, attr) ? 0 : ESTALE;
}

/* Somebody else may have been faster: that handle is in use, and this one is not. */
int guest_file_reopened(struct guest_file *file, const struct files_reply *reply)
{
	struct files_request close = {.op = FILES_CLOSE, .handle = reply->handle};
	int error = reply->error;

	if (error)
		return error;
	if (!reply->handle)
		return EIO;
	error = check_reopened(file, reply);
	if (error || guest_file_live(file)) {
		files_request(file->sb, &close, NULL, NULL, NULL);
		return error;
	}
	file->handle = reply->handle;
	file->epoch = file->sb->files->epoch;
	files_node_learn(file->node, &reply->attr);
	return 0;
}

static uint32_t open_flags(int flags)
{
	int access = flags & O_ACCMODE;
	uint32_t shown = 0;

	if (access != O_WRONLY)
		shown |= FILES_O_READ;
	if (access != O_RDONLY)
		shown |= FILES_O_WRITE;
	if (flags & O_APPEND)
		shown |= FILES_O_APPEND;
	if (flags & O_TRUNC)
		shown |= FILES_O_TRUNC;
	if (flags & O_EXCL)
		shown |= FILES_O_EXCL;
	return shown;
}

static bool same_content(const struct fs *fs, const struct files_content *content,
			 const struct files_attr *attr)
{
	return content->known && content->mount == fs->number &&
	       files_version_is(&content->version, attr);
}
/* Is what the kernel has of the file still in it? If not, all will be read anew. */
static bool keep_cache(const struct fs *fs, struct files_content *content,
		       const struct files_attr *attr)
{
	bool same = same_content(fs, content, attr);
	bool keep = same && !content->fresh;

	if (!same)
		*content = (struct files_content){
		    .version = files_version_of(attr), .mount = fs->number, .known = true};
	content->fresh = false;
	return keep;
}

/* It may have been changed by a name that is in no directory that we watch. */
static void learn(struct files_node *node, const struct files_attr *attr)
{
	const struct files_version now = files_version_of(attr);
	struct files_attr old;

	if (node->parent &&
	    files_cache_lookup(node->parent, node->name, &old) == FILES_PRESENT &&
	    !files_version_is(&now, &old))
		files_cache_drop(node->parent);
}

/* What nobody has open may be the other file that has its name now. */
static bool is_file_of(struct files_node *node, const struct files_attr *attr)
{
	if (!S_ISREG(attr->mode) || node->type != S_IFREG)
		return false;
	if (files_node_is(node, attr))
		return true;
	node->content.known = false;
	return list_empty(&node->opens);
}

/* The reply to an open: the open file, or NULL with a positive errno. */
static struct guest_file *take_file(struct ask *ask, struct files_node *node,
				    const struct files_reply *reply, int *error)
{
	const struct files_request close = {.op = FILES_CLOSE, .handle = reply->handle};
	const struct files_attr *attr = guest_attr(reply);
	struct guest_file *file = NULL;

	*error = reply->error;
	if (!*error && (!attr || !reply->handle))
		*error = EIO;
	if (!*error && !is_file_of(node, attr))
		*error = ESTALE;
	if (!*error) {
		file = file_new(ask->fs, node, ask->request.flags);
		*error = file ? 0 : ENOMEM;
	}
	if (file) {
		file->handle = reply->handle;
		file->epoch = ask->sb->files->epoch;
		files_node_learn(node, attr);
	} else if (!reply->error && reply->handle) {
		files_request(ask->sb, &close, NULL, NULL, NULL);
	}
	return file;
}

/* Who appends writes behind what is there, of which the kernel may not have heard: its
 * page cache is not for that. */
static struct fuse_file_info file_info(const struct ask *ask, struct guest_file *file,
				       const struct files_attr *attr)
{
	bool appends =
	    (ask->request.flags & (FILES_O_APPEND | FILES_O_READ)) == FILES_O_APPEND;
	struct fuse_file_info fi = {.fh = (uintptr_t)file};

	fi.keep_cache = keep_cache(ask->fs, &file->node->content, attr);
	fi.direct_io = appends;
	return fi;
}

void guest_ahead_drop(struct guest_file *file)
{
	if (!file->ahead)
		return;
	file->node->files->ahead -= file->ahead_len;
	free(file->ahead);
	file->ahead = NULL;
}

/* The whole file came with its being opened. */
static void keep_ahead(struct guest_file *file, const struct files_reply *reply)
{
	if (reply->value != 1 || !reply->data_len || reply->data_len > AHEAD_MAX ||
	    reply->data_len != reply->attr.size)
		return;
	file->ahead = malloc(reply->data_len);
	if (!file->ahead)
		return;
	memcpy(file->ahead, reply->data, reply->data_len);
	file->ahead_len = reply->data_len;
	file->ahead_of = files_version_of(&reply->attr);
	file->node->files->ahead += file->ahead_len;
}

bool guest_ahead_is(const struct guest_file *file)
{
	struct files_attr now;

	return file->ahead && files_cache_attr(file->node, &now) &&
	       files_version_is(&file->ahead_of, &now);
}

static void opened(struct ask *ask, const struct files_reply *reply)
{
	struct fuse_file_info fi;
	struct guest_file *file;
	int error;

	if (ask->request.flags & FILES_O_TRUNC)
		ask_changed(ask, reply);
	file = take_file(ask, ask->node, reply, &error);
	if (!file) {
		fuse_reply_err(ask->req, guest_stale(error));
		return;
	}
	learn(ask->node, &reply->attr);
	keep_ahead(file, reply);
	fi = file_info(ask, file, &reply->attr);
	if (fuse_reply_open(ask->req, &fi) == -ENOENT)
		guest_file_unref(file); /* it was interrupted: no release will come */
}

/* Does the kernel have some of the file, perhaps all, and is that in it now? */
static bool is_cached(const struct fs *fs, struct files_node *node)
{
	const struct files_content *content = &node->content;
	struct files_attr attr;

	return !node->leaving && content->read && !content->fresh &&
	       files_cache_attr(node, &attr) && same_content(fs, content, &attr);
}

/* Whoever has it open for long has this very file open, whatever becomes of its name. */
static void open_cached(fuse_req_t req, struct files_node *node, uint32_t flags)
{
	struct fuse_file_info fi = {.keep_cache = 1};
	struct guest_file *file = file_new(fuse_req_userdata(req), node, flags);

	if (!file) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi.fh = (uintptr_t)file;
	if (fuse_reply_open(req, &fi) == -ENOENT)
		guest_file_unref(file);
	else
		guest_file_open_soon(file);
}

/* Who is not root takes these bits away by emptying a file, too. */
static uint32_t drops_suid(fuse_req_t req, uint32_t flags)
{
	return flags & FILES_O_TRUNC && fuse_req_ctx(req)->uid ? FILES_DROP_SUID : 0;
}

void guest_open(fuse_req_t req, const struct node *node, struct fuse_file_info *fi)
{
	uint32_t flags = open_flags(fi->flags);
	struct ask *ask;

	if (flags == FILES_O_READ && is_cached(node->fs, node->file)) {
		open_cached(req, node->file, flags);
		return;
	}
	ask = ask_new(req, node, FILES_OPEN);
	if (!ask)
		return;
	ask->request.flags =
	    flags | (flags & FILES_O_TRUNC ? FILES_WATCH : 0) | drops_suid(req, flags);
	if (flags == FILES_O_READ && node->file->files->ahead < AHEAD_EACH)
		ask->request.size = AHEAD_MAX;
	ask_after(ask, node->file);
	ask_go(ask, opened);
}

static void created(struct ask *ask, const struct files_reply *reply)
{
	const struct files_attr *attr = guest_attr(reply);
	struct fuse_entry_param entry;
	struct fuse_file_info fi;
	struct files_node *node;
	struct guest_file *file;
	int error;

	if (!reply->error)
		ask_changed_name(ask, attr ? ask_watch(ask, reply) : -1, reply, attr);
	node =
	    !reply->error && attr ? guest_entry(ask->node, ask->name, attr, &entry) : NULL;
	file = take_file(ask, node ? node : ask->node, reply, &error);
	if (!node || !file) {
		fuse_reply_err(ask->req, error ? error : ENOMEM);
		if (file)
			guest_file_unref(file);
		if (node)
			files_node_forget(node, 1);
		return;
	}
	entry.entry_timeout = 0; /* it is open */
	fi = file_info(ask, file, attr);
	if (fuse_reply_create(ask->req, &entry, &fi) != -ENOENT)
		return;
	guest_file_unref(file);
	files_node_forget(node, 1);
}

void guest_create(fuse_req_t req, const struct node *dir, const char *name, mode_t mode,
		  struct fuse_file_info *fi)
{
	uint32_t flags = open_flags(fi->flags);
	struct ask *ask = ask_new(req, dir, FILES_OPEN);

	if (!ask || !ask_name(ask, name))
		return;
	ask->request.flags = flags | FILES_O_CREAT | FILES_WATCH | drops_suid(req, flags);
	ask->request.mode = mode & 07777;
	ask_whose(ask);
	ask_go(ask, created);
}

static void release(struct guest_file *file)
{
	list_del(&file->open);
	guest_write_hurry(file->node);
	guest_lock_release(file);
	guest_file_unref(file);
}

void guest_release(fuse_req_t req, struct fuse_file_info *fi)
{
	release(guest_file(fi));
	fuse_reply_err(req, 0);
}

void guest_files_close(struct fs *fs)
{
	struct guest_file *file;

	list_for_each (file, &fs->guest_files, struct guest_file, open)
		release(file);
}
