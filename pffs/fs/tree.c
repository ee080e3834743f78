/*
 * The requests about names and attributes.
 */
#include "pffs/core/record/journal.h"
#include "pffs/fs/guest.h"
#include "pffs/fs/net_ports.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/targets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* Nothing is cached by the kernel: what is here changes without it. */
#define TIMEOUT 0.0

void fs_refuse(fuse_req_t req, struct fs *fs, struct sandbox *sb, const struct error *err)
{
	if (sb)
		sandbox_fail(sb, err);
	else
		fs->core->error = *err;
	fuse_reply_err(req, -err->code);
}

/* Entries come and go with what they show; few are made and removed. */
void fs_refuse_change(fuse_req_t req, fuse_ino_t parent)
{
	struct node dir;
	struct error err;

	if (!fs_node(req, parent, &dir))
		return;
	error_say(&err, EPERM,
		  "only sandboxes, templates and terminals are made, renamed and removed: "
		  "in the mount's root, in a forks/, in templates and in a pty/");
	fs_refuse(req, dir.fs, dir.sb, &err);
}

void fs_reply_entry(fuse_req_t req, const struct node *node)
{
	struct fuse_entry_param entry = {.ino = node_ino(node),
					 .generation = 1,
					 .attr_timeout = TIMEOUT,
					 .entry_timeout = TIMEOUT};

	node_stat(node, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void reply_attr(fuse_req_t req, const struct node *node)
{
	struct stat st;

	node_stat(node, &st);
	fuse_reply_attr(req, &st, TIMEOUT);
}

bool fs_node(fuse_req_t req, fuse_ino_t ino, struct node *node)
{
	int r = node_at(fuse_req_userdata(req), ino, node);

	if (r < 0)
		fuse_reply_err(req, -r);
	return r == 0;
}

bool fs_child(fuse_req_t req, fuse_ino_t parent, const char *name, struct node *node)
{
	struct node dir;
	int r;

	if (!fs_node(req, parent, &dir))
		return false;
	r = node_child(&dir, name, node);
	if (r < 0)
		fuse_reply_err(req, -r);
	return r == 0;
}

void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node dir, node;
	int r;

	if (!fs_node(req, parent, &dir))
		return;
	if (node_is_guest(&dir)) {
		guest_lookup(req, &dir, name);
		return;
	}
	r = node_child(&dir, name, &node);
	if (r < 0)
		fuse_reply_err(req, -r);
	else if (node.kind == KIND_PORT)
		net_lookup(req, &node);
	else
		fs_reply_entry(req, &node);
}

/* An open file keeps its attributes when its sandbox has gone. fstat(2) does not say by
 * which handle it comes. */
void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	const struct handle *h = NULL;
	struct node node;

	(void)fi;
	if (node_at(fs, ino, &node) < 0)
		h = handle_find(fs, ino);
	if (h)
		reply_attr(req, &h->node);
	else if (!fs_node(req, ino, &node))
		return;
	else if (node.kind == KIND_FILE)
		guest_getattr(req, &node);
	else
		reply_attr(req, &node);
}

static void truncate_node(const struct node *node)
{
	const struct file_ops *ops = kind_info(node->kind)->ops;

	if (ops && ops->truncate)
		ops->truncate(node);
}

/* Only a sandbox's own directory has a mode and an owner to set. Truncation means nothing
 * to most files: each write is a value. */
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct node node;

	if (!fs_node(req, ino, &node))
		return;
	if (node.kind == KIND_FILE) {
		guest_setattr(req, &node, attr, to_set,
			      fi && fi->fh ? guest_file(fi) : NULL);
		return;
	}
	if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) &&
	    node.kind != KIND_SANDBOX) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (to_set & FUSE_SET_ATTR_SIZE && !attr->st_size)
		truncate_node(&node);
	if (to_set & FUSE_SET_ATTR_MODE)
		node.sb->mode = attr->st_mode & 07777;
	if (to_set & FUSE_SET_ATTR_UID)
		node.sb->uid = attr->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		node.sb->gid = attr->st_gid;
	if (node.kind == KIND_SANDBOX)
		journal_facts(node.sb);
	reply_attr(req, &node);
}

void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct node node;
	const struct run *run;
	char target[32];

	if (!fs_node(req, ino, &node))
		return;
	if (node_is_guest(&node)) {
		guest_readlink(req, &node);
		return;
	}
	run = node.kind == KIND_LAST ? sandbox_newest(node.sb) : NULL;
	if (!run) {
		fuse_reply_err(req, node.kind == KIND_LAST ? ENOENT : EINVAL);
		return;
	}
	snprintf(target, sizeof(target), "runs/%u", run->number);
	fuse_reply_readlink(req, target);
}

/* A directory is listed once, when it is opened. */
struct listing {
	struct link link; /* on fs->listings */
	struct buf items; /* struct item */
};

struct item {
	char name[TARGET_NAME_MAX + 1];
	struct stat st;
};

static void add_item(void *ctx, const char *name, const struct node *node)
{
	struct listing *listing = ctx;
	struct item item = {0};

	snprintf(item.name, sizeof(item.name), "%s", name);
	node_stat(node, &item.st);
	buf_append(&listing->items, &item, sizeof(item));
}

static void close_listing(struct listing *listing)
{
	list_del(&listing->link);
	buf_fini(&listing->items);
	free(listing);
}

void fs_listings_close(struct fs *fs)
{
	struct listing *listing;

	list_for_each (listing, &fs->listings, struct listing, link)
		close_listing(listing);
}

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct listing *listing;
	struct node node;

	if (!fs_node(req, ino, &node))
		return;
	if (node_is_guest(&node)) {
		guest_opendir(req, &node, fi);
		return;
	}
	listing = calloc(1, sizeof(*listing));
	if (!listing) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	list_add_before(&node.fs->listings, &listing->link);
	add_item(listing, ".", &node);
	add_item(listing, "..", &node);
	node_list(&node, add_item, listing);
	fi->fh = (uintptr_t)listing;
	if (fuse_reply_open(req, fi) == -ENOENT)
		close_listing(listing);
}

/* The offset of an entry is the number of entries up to and with it. With attributes or
 * without, there are none to keep: the kernel ignores those of inode 0. */
static void read_listing(fuse_req_t req, const struct listing *listing, size_t size,
			 off_t offset, bool plus)
{
	const struct item *items =
	    (const struct item *)(const void *)buf_peek(&listing->items);
	struct fs *fs = fuse_req_userdata(req);
	size_t count = listing->items.len / sizeof(*items), used = 0;

	if (size > sizeof(fs->scratch))
		size = sizeof(fs->scratch);
	for (size_t i = (size_t)offset; i < count; i++) {
		const struct fuse_entry_param entry = {.attr = items[i].st};
		size_t len = fs_add_entry(req, plus, fs->scratch + used, size - used,
					  items[i].name, &entry, i + 1);

		if (len > size - used)
			break;
		used += len;
	}
	fuse_reply_buf(req, fs->scratch, used);
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		     struct fuse_file_info *fi, bool plus)
{
	if (ino_is_guest(ino))
		guest_readdir(req, size, offset, fi, plus);
	else
		read_listing(req, (struct listing *)(uintptr_t)fi->fh, size, offset, plus);
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		struct fuse_file_info *fi)
{
	read_dir(req, ino, size, offset, fi, false);
}

void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	read_dir(req, ino, size, offset, fi, true);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino_is_guest(ino)) {
		guest_releasedir(req, fi);
		return;
	}
	close_listing((struct listing *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct fs *fs = fuse_req_userdata(req);
	const struct statvfs st = {.f_bsize = 4096,
				   .f_frsize = 4096,
				   .f_files = fs->core->sandbox_count,
				   .f_namemax = SANDBOX_NAME_MAX};
	struct node node;

	if (!ino_is_guest(ino))
		fuse_reply_statfs(req, &st);
	else if (fs_node(req, ino, &node))
		guest_statfs(req, &node);
}

/* Return: is it the guest's directory? If not, the request was answered EPERM. */
static bool is_guests(fuse_req_t req, fuse_ino_t parent, struct node *dir)
{
	if (!ino_is_guest(parent)) {
		fs_refuse_change(req, parent);
		return false;
	}
	return fs_node(req, parent, dir);
}

void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node dir;

	if (is_guests(req, parent, &dir))
		guest_unlink(req, &dir, name);
}

void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct node dir;

	(void)rdev;
	if (S_ISSOCK(mode) && net_mknod(req, parent, name))
		return;
	if (is_guests(req, parent, &dir))
		guest_mknod(req, &dir, name, mode);
}

void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct node dir;

	if (is_guests(req, parent, &dir))
		guest_symlink(req, target, &dir, name);
}

void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *name)
{
	struct node dir, node;

	if (!is_guests(req, newparent, &dir) || !fs_node(req, ino, &node))
		return;
	if (node.kind == KIND_FILE && node.sb == dir.sb)
		guest_link(req, &node, &dir, name);
	else
		fuse_reply_err(req, EXDEV);
}
