/*
 * Open files of the guest.
 */
#include "pffs/fs/guest.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A file whose times are as young as this may change without their changing: a guest's
 * clock for files ticks every 4 ms. */
#define TICK_NS 100000000u

#define COPY_MAX (8u << 20) /* bytes in one request: it is to answer soon */

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
	const struct files_request request = {.op = FILES_CLOSE, .handle = file->handle};

	if (--file->refs)
		return;
	if (guest_file_live(file))
		files_request(file->sb, &request, NULL, NULL, NULL);
	list_del(&file->link);
	list_del(&file->open);
	buf_fini(&file->lockers);
	files_node_unref(file->node);
	sandbox_unref(file->sb);
	free(file);
}

static struct guest_file *file_new(const struct ask *ask, struct files_node *node)
{
	struct guest_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->sb = sandbox_ref(ask->sb);
	file->node = files_node_ref(node);
	file->refs = 1;
	file->flags = ask->request.flags & ~(FILES_O_CREAT | FILES_O_EXCL | FILES_O_TRUNC);
	list_add_before(&node->opens, &file->link);
	list_add_before(&ask->fs->guest_files, &file->open);
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

/* Is what the kernel has of the file still in it? If not, all will be read anew. */
static bool keep_cache(struct files_content *content, const struct files_attr *attr)
{
	uint64_t now = io_monotonic_ns();
	bool same = content->since_ns && content->size == attr->size &&
		    content->mtime_ns == attr->mtime_ns &&
		    content->ctime_ns == attr->ctime_ns;
	bool keep = same && !content->fresh;

	if (!same)
		*content = (struct files_content){.size = attr->size,
						  .mtime_ns = attr->mtime_ns,
						  .ctime_ns = attr->ctime_ns,
						  .since_ns = now};
	content->fresh = false;
	return keep;
}

/* It may have been changed by a name that is in no directory that we watch. */
static void learn(struct files_node *node, const struct files_attr *attr)
{
	struct files_attr old;

	files_node_learn(node, attr);
	if (node->parent &&
	    files_cache_lookup(node->parent, node->name, &old) == FILES_PRESENT &&
	    (old.size != attr->size || old.mtime_ns != attr->mtime_ns ||
	     old.ctime_ns != attr->ctime_ns))
		files_cache_drop(node->parent);
}

/* The reply to an open: the open file, or NULL with a positive errno. */
static struct guest_file *take_file(struct ask *ask, struct files_node *node,
				    const struct files_reply *reply, int *error)
{
	const struct files_request close = {.op = FILES_CLOSE, .handle = reply->handle};
	const struct files_attr *attr = guest_attr(reply);
	struct guest_file *file = NULL;

	*error = reply->error;
	if (!*error && (!attr || !S_ISREG(attr->mode) || !reply->handle))
		*error = EIO;
	if (!*error) {
		file = file_new(ask, node);
		*error = file ? 0 : ENOMEM;
	}
	if (file) {
		file->handle = reply->handle;
		file->epoch = ask->sb->files->epoch;
		learn(node, attr);
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

	fi.keep_cache = keep_cache(&file->node->content, attr);
	fi.direct_io = appends;
	return fi;
}

static void opened(struct ask *ask, const struct files_reply *reply)
{
	struct fuse_file_info fi;
	struct guest_file *file;
	int error;

	file = take_file(ask, ask->node, reply, &error);
	if (!file) {
		fuse_reply_err(ask->req, error);
		return;
	}
	fi = file_info(ask, file, &reply->attr);
	if (fuse_reply_open(ask->req, &fi) == -ENOENT)
		guest_file_unref(file); /* it was interrupted: no release will come */
}

void guest_open(fuse_req_t req, const struct node *node, struct fuse_file_info *fi)
{
	struct ask *ask = ask_new(req, node, FILES_OPEN);

	if (!ask)
		return;
	ask->request.flags = open_flags(fi->flags);
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
	fi = file_info(ask, file, attr);
	if (fuse_reply_create(ask->req, &entry, &fi) != -ENOENT)
		return;
	guest_file_unref(file);
	files_node_forget(node, 1);
}

void guest_create(fuse_req_t req, const struct node *dir, const char *name, mode_t mode,
		  struct fuse_file_info *fi)
{
	struct ask *ask = ask_new(req, dir, FILES_OPEN);

	if (!ask || !ask_name(ask, name))
		return;
	ask->request.flags = open_flags(fi->flags) | FILES_O_CREAT;
	ask->request.mode = mode & 07777;
	ask_whose(ask);
	ask_go(ask, created);
}

static struct ask *ask_file(fuse_req_t req, const struct fuse_file_info *fi, int op)
{
	struct guest_file *file = guest_file(fi);
	const struct node node = {.sb = file->sb, .file = file->node};
	struct ask *ask = ask_new(req, &node, op);

	if (ask)
		ask_by(ask, file);
	return ask;
}

static void have_read(struct ask *ask, const struct files_reply *reply)
{
	struct files_content *content = &ask->file->node->content;
	size_t len = 0;

	if (reply->error) {
		fuse_reply_err(ask->req, reply->error);
		return;
	}
	/* A part that is short is the end. */
	for (unsigned i = 0; i < ASK_PARTS; i++) {
		len += ask->parts[i].got;
		if (ask->parts[i].got < FILES_IO_MAX)
			break;
	}
	content->fresh |= io_monotonic_ns() - content->since_ns < TICK_NS;
	fuse_reply_buf(ask->req, ask->data, len);
}

void guest_read(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct ask *ask = ask_file(req, fi, FILES_READ);

	if (!ask)
		return;
	if (size > FS_IO_MAX)
		size = FS_IO_MAX;
	ask->data = malloc(size ? size : 1);
	if (!ask->data) {
		ask_fail(ask, ENOMEM);
		return;
	}
	ask->request.offset = (uint64_t)offset;
	ask->request.size = size;
	ask_go(ask, have_read);
}

/* The error of a write that was answered before is told by what comes next. */
static void synced(struct ask *ask, const struct files_reply *reply)
{
	int error = guest_write_error(ask->file);

	fuse_reply_err(ask->req, error ? error : reply->error);
}

static void flushed(struct ask *ask, const struct files_reply *reply)
{
	if (ask->request.op == FILES_SETLK && !reply->error)
		guest_lock_forget(ask->file->node, ask->request.owner);
	if (ask->req)
		synced(ask, reply);
}

/* close(2) waits for the writes, so that it can say what became of them, and lets go of
 * all POSIX locks that its process has on the file. */
void guest_flush(fuse_req_t req, struct fuse_file_info *fi)
{
	struct guest_file *file = guest_file(fi);
	bool locks = guest_lock_has(file->node, fi->lock_owner);
	struct ask *ask;

	if (list_empty(&file->node->writes) && !locks) {
		fuse_reply_err(req, guest_write_error(file));
		return;
	}
	ask = ask_file(req, fi, locks ? FILES_SETLK : ASK_NOTHING);
	if (!ask)
		return;
	ask->request.owner = fi->lock_owner;
	ask->request.mode = F_UNLCK;
	ask->unlocks = locks;
	ask_go(ask, flushed);
}

void guest_fsync(fuse_req_t req, int datasync, struct fuse_file_info *fi)
{
	struct ask *ask = ask_file(req, fi, FILES_FSYNC);

	if (!ask)
		return;
	ask->request.flags = datasync ? FILES_DATA_ONLY : 0;
	ask_go(ask, synced);
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

static void sought(struct ask *ask, const struct files_reply *reply)
{
	if (reply->error)
		fuse_reply_err(ask->req, reply->error);
	else if (reply->value > INT64_MAX)
		fuse_reply_err(ask->req, EIO);
	else
		fuse_reply_lseek(ask->req, (off_t)reply->value);
}

void guest_lseek(fuse_req_t req, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct ask *ask = ask_file(req, fi, FILES_SEEK);

	if (!ask)
		return;
	ask->request.offset = (uint64_t)offset;
	ask->request.mode = (uint32_t)whence;
	ask_go(ask, sought);
}

void guest_fallocate(fuse_req_t req, int mode, off_t offset, off_t size,
		     struct fuse_file_info *fi)
{
	struct ask *ask = ask_file(req, fi, FILES_FALLOCATE);

	if (!ask)
		return;
	ask->request.mode = (uint32_t)mode;
	ask->request.offset = (uint64_t)offset;
	ask->request.size = (uint64_t)size;
	ask_go(ask, ask_done);
}

static void copied(struct ask *ask, const struct files_reply *reply)
{
	if (reply->error)
		fuse_reply_err(ask->req, reply->error);
	else if (reply->value > ask->request.size)
		fuse_reply_err(ask->req, EIO);
	else
		fuse_reply_write(ask->req, reply->value);
}

/* Between two sandboxes the kernel copies by reading and writing. */
void guest_copy(fuse_req_t req, off_t offset, struct fuse_file_info *fi, off_t to_offset,
		struct fuse_file_info *to_fi, size_t size)
{
	struct guest_file *from = guest_file(fi), *to = guest_file(to_fi);
	struct ask *ask;

	if (from->sb != to->sb || !list_empty(&from->node->writes)) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	ask = ask_file(req, fi, FILES_COPY);
	if (!ask)
		return;
	ask->file2 = guest_file_ref(to);
	ask_after(ask, to->node);
	ask->request.offset = (uint64_t)offset;
	ask->request.offset2 = (uint64_t)to_offset;
	ask->request.size = size < COPY_MAX ? size : COPY_MAX;
	ask_go(ask, copied);
}
