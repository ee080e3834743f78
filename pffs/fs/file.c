/*
 * The requests about open files.
 */
#include "pffs/fs/guest.h"
#include "pffs/fs/operations.h"

#include <errno.h>
#include <sys/epoll.h>

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node node;
	struct handle *h;
	struct error err;

	if (!fs_node(req, ino, &node))
		return;
	if (node_is_guest(&node)) {
		guest_open(req, &node, fi);
		return;
	}
	if (handle_open(&node, fuse_req_ctx(req), fi->flags, &h, &err) < 0) {
		fs_refuse(req, node.fs, node.sb, &err);
		return;
	}
	fi->fh = (uintptr_t)h;
	fi->direct_io = 1;
	fi->nonseekable = h->stream;
	if (fuse_reply_open(req, fi) == -ENOENT)
		handle_close(h); /* the open was interrupted: no release will come */
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	     struct fuse_file_info *fi)
{
	struct handle *h = fs_handle(fi);

	if (ino_is_guest(ino))
		guest_read(req, size, offset, fi);
	else if ((h->flags & O_ACCMODE) == O_WRONLY)
		fuse_reply_err(req, EBADF);
	else
		handle_read(h, req, size, (uint64_t)offset, fi->flags);
}

void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	      struct fuse_file_info *fi)
{
	struct handle *h = fs_handle(fi);
	struct error err;

	if (ino_is_guest(ino)) {
		guest_write(req, data, size, offset, fi);
		return;
	}
	if ((h->flags & O_ACCMODE) == O_RDONLY)
		fuse_reply_err(req, EBADF);
	else if (h->ops->write_later)
		h->ops->write_later(h, req, data, size);
	else if (h->ops->write(h, data, size, &err) < 0)
		fs_refuse(req, h->fs, h->node.sb, &err);
	else
		fuse_reply_write(req, size);
}

void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h = fs_handle(fi);
	struct error err;

	if (ino_is_guest(ino)) {
		guest_flush(req, fi);
		return;
	}
	fs_unlock(fuse_req_userdata(req), ino, true, fi->lock_owner);
	if (h->ops->flush && h->ops->flush(h, &err) < 0)
		fs_refuse(req, h->fs, h->node.sb, &err);
	else
		fuse_reply_err(req, 0);
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino_is_guest(ino)) {
		guest_release(req, fi);
		return;
	}
	if (fi->flock_release)
		fs_unlock(fuse_req_userdata(req), ino, false, fi->lock_owner);
	handle_close(fs_handle(fi));
	fuse_reply_err(req, 0);
}

void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	if (ino_is_guest(ino))
		guest_fsync(req, datasync, fi);
	else
		fuse_reply_err(req, 0);
}

void fs_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	     struct fuse_pollhandle *ph)
{
	if (!ino_is_guest(ino)) {
		handle_poll(fs_handle(fi), req, ph);
		return;
	}
	if (ph)
		fuse_pollhandle_destroy(ph);
	fuse_reply_poll(req, EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM);
}
