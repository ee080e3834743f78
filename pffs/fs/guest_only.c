/*
 * Requests that only the guest's files know; elsewhere they fail as on a file system
 * without them.
 */
#include "pffs/fs/guest.h"

#include <errno.h>

static void forget_one(struct fs *fs, fuse_ino_t ino, uint64_t count)
{
	struct node node;

	if (ino_is_guest(ino) && node_at(fs, ino, &node) == 0 && node.kind == KIND_FILE)
		files_node_forget(node.file, count);
}

void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	forget_one(fuse_req_userdata(req), ino, count);
	fuse_reply_none(req);
}

void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget_one(fuse_req_userdata(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct node dir;

	if (!ino_is_guest(parent))
		fs_refuse_change(req, parent);
	else if (fs_node(req, parent, &dir))
		guest_create(req, &dir, name, mode, fi);
}

/* Return: is it the guest's? If not, the request was answered. */
static bool is_guests(fuse_req_t req, fuse_ino_t ino, struct node *node)
{
	if (!ino_is_guest(ino)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return false;
	}
	return fs_node(req, ino, node);
}

void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct node node;

	if (is_guests(req, ino, &node))
		guest_getxattr(req, &node, name, size);
}

void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
		 size_t size, int flags)
{
	struct node node;

	if (is_guests(req, ino, &node))
		guest_setxattr(req, &node, name, value, size, flags);
}

void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct node node;

	if (is_guests(req, ino, &node))
		guest_listxattr(req, &node, size);
}

void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct node node;

	if (is_guests(req, ino, &node))
		guest_removexattr(req, &node, name);
}

void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size,
		  struct fuse_file_info *fi)
{
	if (ino_is_guest(ino))
		guest_fallocate(req, mode, offset, size, fi);
	else
		fuse_reply_err(req, EOPNOTSUPP);
}

/* Only SEEK_DATA and SEEK_HOLE come here. A control file has no holes, but what is not kept
 * any more. */
void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
	      struct fuse_file_info *fi)
{
	const struct file_ops *ops;
	struct node node;
	struct stat st;
	off_t start;

	if (ino_is_guest(ino)) {
		guest_lseek(req, offset, whence, fi);
		return;
	}
	if (!fs_node(req, ino, &node))
		return;
	node_stat(&node, &st);
	ops = kind_info(node.kind)->ops;
	start = ops && ops->start ? (off_t)ops->start(&node) : 0;
	if (offset < 0 || offset >= st.st_size)
		fuse_reply_err(req, ENXIO);
	else if (offset < start)
		fuse_reply_lseek(req, whence == SEEK_DATA ? start : offset);
	else
		fuse_reply_lseek(req, whence == SEEK_DATA ? offset : st.st_size);
}

void fs_copy(fuse_req_t req, fuse_ino_t ino, off_t offset, struct fuse_file_info *fi,
	     fuse_ino_t to, off_t to_offset, struct fuse_file_info *to_fi, size_t size,
	     int flags)
{
	(void)flags;
	if (ino_is_guest(ino) && ino_is_guest(to))
		guest_copy(req, offset, fi, to_offset, to_fi, size);
	else
		fuse_reply_err(req, EXDEV);
}
