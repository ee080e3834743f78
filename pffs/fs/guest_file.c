/*
 * Open files of the guest: what is done with them, but for writing.
 */
#include "pffs/fs/guest.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A file whose times are as young as this may change without their changing: a guest's
 * clock for files ticks every 4 ms, and its clock is not quite ours. */
#define YOUNG_NS 2000000000

#define COPY_MAX (8u << 20) /* bytes in one request: it is to answer soon */

static struct ask *ask_file(fuse_req_t req, const struct fuse_file_info *fi, int op)
{
	struct guest_file *file = guest_file(fi);
	const struct node node = {.sb = file->sb, .file = file->node};
	struct ask *ask = ask_new(req, &node, op);

	if (ask)
		ask_by(ask, file);
	return ask;
}

static void note_read(struct files_content *content)
{
	content->read = true;
	content->fresh |= content->version.ctime_ns > (int64_t)io_realtime_ns() - YOUNG_NS;
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
	note_read(content);
	fuse_reply_buf(ask->req, ask->data, len);
}

/* Return: was it answered with what came when the file was opened? */
static bool read_ahead(fuse_req_t req, struct guest_file *file, size_t size,
		       uint64_t offset)
{
	size_t left = offset < file->ahead_len ? file->ahead_len - (size_t)offset : 0;

	if (!guest_ahead_is(file)) {
		guest_ahead_drop(file);
		return false;
	}
	note_read(&file->node->content);
	fuse_reply_buf(req, (const char *)file->ahead + file->ahead_len - left,
		       size < left ? size : left);
	if (size >= left)
		guest_ahead_drop(file);
	return true;
}

void guest_read(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct ask *ask;

	if (read_ahead(req, guest_file(fi), size, (uint64_t)offset))
		return;
	ask = ask_file(req, fi, FILES_READ);
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
	ask->request.flags = FILES_WATCH;
	ask_go(ask, ask_changed_done);
}

static void copied(struct ask *ask, const struct files_reply *reply)
{
	ask_changed(ask, reply);
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
	ask->request.flags = FILES_WATCH;
	ask_go(ask, copied);
}
