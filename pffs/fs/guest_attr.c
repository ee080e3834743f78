/*
 * Attributes of files of the guest, and of the file system that they are in.
 */
#include "pffs/fs/guest.h"

#include "util/io.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

static void reply_attr(fuse_req_t req, struct files_node *node,
		       const struct files_attr *attr)
{
	struct stat st;

	guest_stat(node->files->sb, attr, &st);
	fuse_reply_attr(req, &st, guest_seconds(node));
}

static struct guest_file *some_open(const struct files_node *node)
{
	return list_empty(&node->opens)
		   ? NULL
		   : container_of(node->opens.next, struct guest_file, link);
}

static void have_attr(struct ask *ask, const struct files_reply *reply)
{
	const struct files_attr *attr = guest_attr(reply);

	if (reply->error || !attr) {
		fuse_reply_err(ask->req, reply->error ? guest_stale(reply->error) : EIO);
		return;
	}
	if (!files_node_is(ask->node, attr)) {
		fuse_reply_err(ask->req, ESTALE);
		return;
	}
	files_node_learn(ask->node, attr);
	reply_attr(ask->req, ask->node, attr);
}

static void have_directory(struct ask *ask, const struct files_reply *reply)
{
	const struct files_attr *attr = reply->error ? NULL : guest_attr(reply);
	int32_t watch = ask_watch(ask, reply);

	if (attr && S_ISDIR(attr->mode)) {
		files_node_seen(ask->node, attr);
		files_cache_learn_self(ask->node, watch, attr);
	}
	have_attr(ask, reply);
}

/* A file that has no name, or none that we know of: it is open, or it has gone. */
static void ask_open_file(fuse_req_t req, const struct node *node)
{
	struct guest_file *file = some_open(node->file);
	struct ask *ask;

	if (!file) {
		fuse_reply_err(req, node->file->removed ? ENOENT : ESTALE);
		return;
	}
	ask = ask_new(req, node, FILES_GETATTR);
	if (!ask)
		return;
	ask_by(ask, file);
	ask_go(ask, have_attr);
}

/* The attributes of whatever has the name now. */
static void have_named(struct ask *ask, const struct files_reply *reply)
{
	const struct files_attr *attr = reply->error ? NULL : guest_attr(reply);
	struct files_node *file = ask->about;
	const struct node node = {.sb = ask->sb, .file = file};
	bool gone = reply->error == ENOENT || (attr && !files_node_is(file, attr));

	if (attr)
		files_cache_learn(ask->node, ask_watch(ask, reply), ask->name, attr);
	if (gone && file->parent && (some_open(file) || !attr))
		files_node_unlink(file);
	if (gone && !file->parent) {
		ask_open_file(ask->req, &node);
	} else if (attr && file->type == (attr->mode & S_IFMT)) {
		files_node_learn(file, attr);
		reply_attr(ask->req, file, attr);
	} else {
		fuse_reply_err(ask->req, reply->error ? guest_stale(reply->error) : ESTALE);
	}
}

static void ask_by_name(fuse_req_t req, const struct node *node)
{
	const struct node dir = {.sb = node->sb, .file = node->file->parent};
	struct ask *ask = ask_new(req, &dir, FILES_LOOKUP);

	if (!ask || !ask_name(ask, node->file->name))
		return;
	guest_missed(dir.file);
	ask->request.flags = FILES_WATCH;
	ask_after(ask, node->file);
	ask_go(ask, have_named);
}

static void ask_directory(fuse_req_t req, const struct node *node)
{
	struct ask *ask = ask_new(req, node, FILES_GETATTR);

	if (!ask)
		return;
	ask->request.flags = FILES_WATCH;
	ask_go(ask, have_directory);
}

void guest_getattr(fuse_req_t req, const struct node *node)
{
	struct files_attr attr;

	if (files_cache_attr(node->file, &attr))
		reply_attr(req, node->file, &attr);
	else if (!node->file->parent)
		ask_open_file(req, node);
	else if (node->file->type == S_IFDIR)
		ask_directory(req, node);
	else
		ask_by_name(req, node);
}

static void attr_set(struct ask *ask, const struct files_reply *reply)
{
	ask_changed(ask, reply);
	have_attr(ask, reply);
}

static int64_t ns_of(const struct timespec *at)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)at->tv_sec, INT64_C(1000000000), &ns) ||
	    __builtin_add_overflow(ns, at->tv_nsec, &ns))
		return at->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static void set_times(struct files_request *request, const struct stat *attr, int to_set)
{
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
		request->flags |= FILES_SET_ATIME;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		request->flags |= FILES_NOW_ATIME;
	if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
		request->flags |= FILES_SET_MTIME;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		request->flags |= FILES_NOW_MTIME;
	request->atime_ns = ns_of(&attr->st_atim);
	request->mtime_ns = ns_of(&attr->st_mtim);
}

static void set_owner(struct ask *ask, const struct stat *attr, int to_set)
{
	if (to_set & FUSE_SET_ATTR_UID) {
		ask->request.flags |= FILES_SET_UID;
		ask->request.uid = files_swap_id(attr->st_uid, ask->sb->uid);
	}
	if (to_set & FUSE_SET_ATTR_GID) {
		ask->request.flags |= FILES_SET_GID;
		ask->request.gid = files_swap_id(attr->st_gid, ask->sb->gid);
	}
}

void guest_setattr(fuse_req_t req, const struct node *node, const struct stat *attr,
		   int to_set, struct guest_file *file)
{
	struct ask *ask = ask_new(req, node, FILES_SETATTR);

	if (!ask)
		return;
	if (to_set & FUSE_SET_ATTR_MODE) {
		ask->request.flags |= FILES_SET_MODE;
		ask->request.mode = attr->st_mode & 07777;
	}
	if (to_set & FUSE_SET_ATTR_SIZE) {
		ask->request.flags |= FILES_SET_SIZE;
		ask->request.size = (uint64_t)attr->st_size;
	}
	set_owner(ask, attr, to_set);
	set_times(&ask->request, attr, to_set);
	if (!file && !node->file->parent)
		file = some_open(node->file);
	if (file)
		ask_by(ask, file);
	else
		ask_after(ask, node->file);
	ask->request.flags |= FILES_WATCH;
	ask_go(ask, attr_set);
}

static void have_link(struct ask *ask, const struct files_reply *reply)
{
	char target[PATH_MAX];
	int r = -reply->error;

	if (r == 0)
		r = files_link_target(files_node_depth(ask->node), reply->data,
				      reply->data_len, target, sizeof(target));
	if (r < 0)
		fuse_reply_err(ask->req, -r);
	else
		fuse_reply_readlink(ask->req, target);
}

void guest_readlink(fuse_req_t req, const struct node *node)
{
	struct ask *ask = ask_new(req, node, FILES_READLINK);

	if (ask)
		ask_go(ask, have_link);
}

static uint64_t now_ms(void)
{
	return io_monotonic_ns() / 1000000u;
}

static void reply_statfs(fuse_req_t req, const struct files_statfs *of)
{
	const struct statvfs st = {
	    .f_bsize = of->bsize,
	    .f_frsize = of->bsize,
	    .f_blocks = of->blocks,
	    .f_bfree = of->bfree,
	    .f_bavail = of->bavail,
	    .f_files = of->files,
	    .f_ffree = of->ffree,
	    .f_favail = of->ffree,
	    .f_namemax = FILES_NAME_MAX,
	};

	fuse_reply_statfs(req, &st);
}

static void have_statfs(struct ask *ask, const struct files_reply *reply)
{
	struct files *files = ask->node->files;
	struct files_statfs of = {0};

	if (reply->error || files_get_statfs(reply, &of) < 0) {
		fuse_reply_err(ask->req, reply->error ? reply->error : EIO);
		return;
	}
	files->statfs = of;
	files->statfs_at = now_ms();
	reply_statfs(ask->req, &of);
}

/* Programs that walk a tree ask in each directory, or at the start of each walk. */
void guest_statfs(fuse_req_t req, const struct node *node)
{
	const struct files *files = node->file->files;
	struct ask *ask;

	if (files->statfs_at && now_ms() - files->statfs_at < FILES_STATFS_MS) {
		reply_statfs(req, &files->statfs);
		return;
	}
	ask = ask_new(req, node, FILES_STATFS);
	if (ask)
		ask_go(ask, have_statfs);
}

/*
 * Attributes of users are the file's. All others are the system's that it is in: the
 * guest's security labels and capabilities mean nothing here, and the kernel asks for
 * them at each write.
 */
static bool is_users(const char *name)
{
	return strncmp(name, "user.", 5) == 0;
}

static struct ask *ask_xattr(fuse_req_t req, const struct node *node, const char *name,
			     enum files_op op)
{
	struct ask *ask = ask_new(req, node, op);
	char *to = ask ? ask->request.paths + FILES_PATH_MAX + 1 : NULL;

	if (ask) {
		snprintf(to, FILES_PATH_MAX + 1, "%s", name);
		ask->request.path2 = to;
	}
	return ask;
}

static void have_xattr(struct ask *ask, const struct files_reply *reply)
{
	size_t wanted = (size_t)ask->request.size;

	if (reply->error)
		fuse_reply_err(ask->req, reply->error);
	else if (!wanted && reply->value <= XATTR_SIZE_MAX)
		fuse_reply_xattr(ask->req, (size_t)reply->value);
	else if (wanted && reply->data_len <= wanted)
		fuse_reply_buf(ask->req, (const char *)reply->data, reply->data_len);
	else
		fuse_reply_err(ask->req, EIO);
}

void guest_getxattr(fuse_req_t req, const struct node *node, const char *name, size_t size)
{
	struct ask *ask;

	if (!is_users(name)) {
		fuse_reply_err(req,
			       strncmp(name, "security.", 9) == 0 ? ENODATA : EOPNOTSUPP);
		return;
	}
	ask = ask_xattr(req, node, name, FILES_GETXATTR);
	if (!ask)
		return;
	ask->request.size = size < XATTR_SIZE_MAX ? size : XATTR_SIZE_MAX;
	ask_go(ask, have_xattr);
}

void guest_setxattr(fuse_req_t req, const struct node *node, const char *name,
		    const char *value, size_t size, int flags)
{
	struct ask *ask;
	char *copy;

	if (!is_users(name)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	ask = ask_xattr(req, node, name, FILES_SETXATTR);
	if (!ask)
		return;
	copy = malloc(size ? size : 1);
	if (!copy) {
		ask_fail(ask, ENOMEM);
		return;
	}
	memcpy(copy, value, size);
	ask->request.data = (uint8_t *)copy;
	ask->request.data_len = (uint32_t)size;
	ask->request.mode = (uint32_t)flags;
	ask->request.flags = FILES_WATCH;
	ask_go(ask, ask_changed_done);
}

/* The users' names of a list of them. Return: bytes in @to, or -EIO. */
static ssize_t filter_names(const char *names, size_t len, char *to)
{
	size_t used = 0;

	if (len && names[len - 1])
		return -EIO;
	for (size_t at = 0; at < len; at += strlen(names + at) + 1) {
		size_t n = strlen(names + at) + 1;

		if (!is_users(names + at))
			continue;
		memcpy(to + used, names + at, n);
		used += n;
	}
	return (ssize_t)used;
}

static void have_names(struct ask *ask, const struct files_reply *reply)
{
	size_t wanted = (size_t)(uintptr_t)ask->context;
	char names[XATTR_LIST_MAX];
	ssize_t n = -reply->error;

	if (n == 0 && reply->data_len > sizeof(names))
		n = -EIO;
	if (n == 0)
		n = filter_names((const char *)reply->data, reply->data_len, names);
	if (n < 0)
		fuse_reply_err(ask->req, (int)-n);
	else if (!wanted)
		fuse_reply_xattr(ask->req, (size_t)n);
	else if ((size_t)n > wanted)
		fuse_reply_err(ask->req, ERANGE);
	else
		fuse_reply_buf(ask->req, names, (size_t)n);
}

void guest_listxattr(fuse_req_t req, const struct node *node, size_t size)
{
	struct ask *ask = ask_new(req, node, FILES_LISTXATTR);

	if (!ask)
		return;
	ask->request.size = XATTR_LIST_MAX;
	ask->context = (void *)(uintptr_t)size;
	ask_go(ask, have_names);
}

void guest_removexattr(fuse_req_t req, const struct node *node, const char *name)
{
	struct ask *ask;

	if (!is_users(name)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	ask = ask_xattr(req, node, name, FILES_REMOVEXATTR);
	if (!ask)
		return;
	ask->request.flags = FILES_WATCH;
	ask_go(ask, ask_changed_done);
}
