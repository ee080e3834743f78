/*
 * Names in the guest: looking them up, making and removing them.
 */
#include "pffs/fs/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* So many lookups that a listing could have answered, and it is fetched. */
#define MISSES_MAX 3u

/* One frame of it is fetched ahead; a directory that has more is large. */
struct prefetch {
	struct sandbox *sb;	/* reference */
	struct files_node *dir; /* reference */
	struct files_moment asked;
};

static void prefetched(void *ctx, const struct files_reply *reply)
{
	struct prefetch *prefetch = ctx;
	struct files_listing *listing = files_listing_new();
	int r = listing && !reply->error ? files_listing_take(listing, reply) : -EIO;

	prefetch->dir->large = !reply->error && reply->value != 1;
	if (r == 0 && !prefetch->dir->large &&
	    files_cache_same(prefetch->dir, &prefetch->asked))
		files_cache_install(prefetch->dir, listing, reply->watch);
	files_listing_unref(listing);
	files_node_unref(prefetch->dir);
	sandbox_unref(prefetch->sb);
	free(prefetch);
}

/* Somebody looks at one name after the other: get them all, next to what is asked. */
void guest_missed(struct files_node *dir)
{
	struct files_request request = {
	    .op = FILES_LIST, .flags = FILES_WATCH, .size = FILES_IO_MAX};
	struct prefetch *prefetch;

	if (dir->large || !dir->listing || ++dir->misses != MISSES_MAX ||
	    files_node_path(dir, NULL, request.paths) < 0)
		return;
	request.path = request.paths;
	prefetch = malloc(sizeof(*prefetch));
	if (!prefetch)
		return;
	*prefetch = (struct prefetch){.sb = sandbox_ref(dir->files->sb),
				      .dir = files_node_ref(dir),
				      .asked = files_cache_moment(dir)};
	if (files_request(prefetch->sb, &request, prefetched, prefetch, NULL) == 0)
		return;
	files_node_unref(dir);
	sandbox_unref(prefetch->sb);
	free(prefetch);
}

static void looked_up(struct ask *ask, const struct files_reply *reply)
{
	const struct files_attr *attr = reply->error ? NULL : guest_attr(reply);
	struct files_node *node;

	if (attr || reply->error == ENOENT)
		files_cache_learn(ask->node, ask_watch(ask, reply), ask->name, attr);
	if (attr) {
		guest_reply_entry(ask->req, ask->node, ask->name, attr);
		return;
	}
	node = files_node_find(ask->node, ask->name);
	if (node && reply->error == ENOENT)
		files_node_unlink(node);
	fuse_reply_err(ask->req, reply->error ? reply->error : EIO);
}

enum files_known guest_known(struct files_node *dir, const char *name,
			     struct files_attr *attr)
{
	struct files_node *node = files_node_find(dir, name);
	enum files_known known = FILES_UNKNOWN;
	struct files_attr self;

	if (strlen(name) > FILES_NAME_MAX)
		return FILES_UNKNOWN; /* it is not absent: it cannot be */
	if (!node || list_empty(&node->writes))
		known = files_cache_lookup(dir, name, attr);
	if (known == FILES_NAMED && node && node->type == S_IFDIR &&
	    files_cache_self(node, &self) && self.dev == attr->dev && self.ino == attr->ino)
		*attr = self;
	return known;
}

void guest_lookup(fuse_req_t req, const struct node *dir, const char *name)
{
	struct files_node *node = files_node_find(dir->file, name);
	struct files_attr attr;
	enum files_known known = guest_known(dir->file, name, &attr);
	struct ask *ask;

	if (dir->sb->state == SANDBOX_DEAD) {
		fuse_reply_err(req, EIO);
	} else if (known == FILES_ABSENT) {
		fuse_reply_err(req, ENOENT);
	} else if (known != FILES_UNKNOWN) {
		guest_reply_entry(req, dir->file, name, &attr);
	} else {
		ask = ask_new(req, dir, FILES_LOOKUP);
		if (!ask || !ask_name(ask, name))
			return;
		guest_missed(dir->file);
		if (node)
			ask_after(ask, node);
		ask->request.flags = FILES_WATCH;
		ask_go(ask, looked_up);
	}
}

/* For another type the kernel answers with EIO, and keeps nothing. */
static mode_t type_made(const struct files_request *request)
{
	switch (request->op) {
	case FILES_MKDIR:
		return S_IFDIR;
	case FILES_SYMLINK:
		return S_IFLNK;
	default:
		return request->mode & S_IFMT ? request->mode & S_IFMT : S_IFREG;
	}
}

static void made(struct ask *ask, const struct files_reply *reply)
{
	const struct files_attr *attr = guest_attr(reply);

	if (!reply->error)
		ask_changed_name(ask, ask_watch(ask, reply), reply, attr);
	if (reply->error || !attr || (attr->mode & S_IFMT) != type_made(&ask->request))
		fuse_reply_err(ask->req, reply->error ? reply->error : EIO);
	else
		guest_reply_entry(ask->req, ask->node, ask->name, attr);
}

/* All is known of a directory that has just been made, and was empty then. */
static void made_directory(struct ask *ask, const struct files_reply *reply)
{
	const struct files_attr *attr = reply->error ? NULL : guest_attr(reply);
	const struct files_attr *self = guest_dir_attr(reply->has_dir2, &reply->dir2);
	struct files_node *node =
	    attr && S_ISDIR(attr->mode) ? files_node_get(ask->node, ask->name, attr) : NULL;
	struct files_listing *listing;

	made(ask, reply);
	node = node ? files_node_find(ask->node, ask->name) : NULL;
	/* Another mount may have been faster, and made something in it. */
	listing = node && !node->listing && !node->changes && reply->value == 1
		      ? files_listing_new()
		      : NULL;
	if (!listing)
		return;
	files_cache_install(node, listing, reply->watch2);
	if (node->listing && self)
		files_cache_learn_self(node, reply->watch2, self);
	files_listing_unref(listing);
}

void guest_mkdir(fuse_req_t req, const struct node *dir, const char *name, mode_t mode)
{
	struct ask *ask = ask_new(req, dir, FILES_MKDIR);

	if (!ask || !ask_name(ask, name))
		return;
	ask->request.mode = mode & 07777;
	ask->request.flags = FILES_WATCH;
	ask_whose(ask);
	ask_go(ask, made_directory);
}

/* A device would be the guest's, or the host's; it is neither's. */
void guest_mknod(fuse_req_t req, const struct node *dir, const char *name, mode_t mode)
{
	struct ask *ask;

	if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	ask = ask_new(req, dir, FILES_MKNOD);
	if (!ask || !ask_name(ask, name))
		return;
	ask->request.mode = mode & (S_IFMT | 07777);
	ask->request.flags = FILES_WATCH;
	ask_whose(ask);
	ask_go(ask, made);
}

void guest_symlink(fuse_req_t req, const char *target, const struct node *dir,
		   const char *name)
{
	struct ask *ask = ask_new(req, dir, FILES_SYMLINK);
	size_t len = strlen(target);

	if (!ask || !ask_name(ask, name))
		return;
	if (len > FILES_PATH_MAX) {
		ask_fail(ask, ENAMETOOLONG);
		return;
	}
	memcpy(ask->request.paths + FILES_PATH_MAX + 1, target, len + 1);
	ask->request.path2 = ask->request.paths + FILES_PATH_MAX + 1;
	ask->request.flags = FILES_WATCH;
	ask_whose(ask);
	ask_go(ask, made);
}

/* The file has a name more, in both directories. */
static void linked(struct ask *ask, const struct files_reply *reply)
{
	const struct files_attr *attr = guest_attr(reply);
	int32_t watch = ask_watch(ask, reply), watch_to = ask_watch_to(ask, reply);

	if (reply->error || !attr) {
		fuse_reply_err(ask->req, reply->error ? reply->error : EIO);
		return;
	}
	files_node_learn(ask->node, attr);
	ask_changed_file(ask, watch, reply);
	ask_changed_to(ask, watch_to, reply, attr);
	guest_reply_entry(ask->req, ask->to, ask->to_name, attr);
}

void guest_link(fuse_req_t req, const struct node *node, const struct node *dir,
		const char *name)
{
	struct ask *ask = ask_new(req, node, FILES_LINK);

	if (!ask || !ask_to(ask, dir->file, name))
		return;
	ask_after(ask, node->file);
	ask->request.flags = FILES_WATCH;
	ask_go(ask, linked);
}

static void removed(struct ask *ask, const struct files_reply *reply)
{
	struct files_node *node = files_node_find(ask->node, ask->name);

	if (!reply->error)
		ask_changed_name(ask, ask_watch(ask, reply), reply, NULL);
	if (!reply->error && node) {
		node->removed = !core_mounted_twice(ask->fs->core);
		files_node_unlink(node);
	}
	fuse_reply_err(ask->req, reply->error);
}

static void remove_name(fuse_req_t req, const struct node *dir, const char *name,
			enum files_op op)
{
	struct ask *ask = ask_new(req, dir, op);

	if (!ask || !ask_name(ask, name))
		return;
	ask->request.flags = FILES_WATCH;
	ask_go(ask, removed);
}

void guest_unlink(fuse_req_t req, const struct node *dir, const char *name)
{
	remove_name(req, dir, name, FILES_UNLINK);
}

void guest_rmdir(fuse_req_t req, const struct node *dir, const char *name)
{
	remove_name(req, dir, name, FILES_RMDIR);
}

static unsigned depth_in(const struct files_node *dir)
{
	return dir->parent ? files_node_depth(dir) + 1 : 0;
}

/*
 * The kernel finds what a link leads to from where its own mount has it. To another mount
 * than that which renames it is where it was, and when it went deeper, ".." of the links
 * below would lead out of fs/ there.
 */
static bool leads_astray(const struct ask *ask, const struct files_node *node,
			 const struct files_node *to)
{
	return core_mounted_twice(ask->fs->core) && node->type != S_IFREG &&
	       depth_in(to) > depth_in(node->parent);
}

static void swap(const struct ask *ask, struct files_node *a, struct files_node *b)
{
	if (!leads_astray(ask, a, b->parent) && !leads_astray(ask, b, a->parent)) {
		files_node_swap(a, b);
		return;
	}
	files_node_ref(b);
	files_node_unlink(a);
	files_node_unlink(b);
	files_node_unref(b);
}

static void move(const struct ask *ask, struct files_node *node)
{
	struct files_node *there = files_node_find(ask->to, ask->to_name);

	if (!leads_astray(ask, node, ask->to) &&
	    files_node_move(node, ask->to, ask->to_name) == 0)
		return;
	files_node_unlink(node);
	if (there && there != node)
		files_node_unlink(there);
}

/* Both directories may be one. */
static void learn_renamed(struct ask *ask, const struct files_reply *reply)
{
	int32_t watch = ask_watch(ask, reply), watch_to = ask_watch_to(ask, reply);
	bool swapped = ask->request.flags & FILES_EXCHANGE;
	bool known = reply->has_attr2 && files_attr_ok(&reply->attr2);

	ask_changed_to(ask, guest_attr(reply) ? watch_to : -1, reply, guest_attr(reply));
	ask_changed_name(ask, swapped && !known ? -1 : watch, reply,
			 swapped && known ? &reply->attr2 : NULL);
}

/* What has the name now is known; what the kernel calls it is a node of its own. */
static void renamed(struct ask *ask, const struct files_reply *reply)
{
	struct files_node *node = files_node_find(ask->node, ask->name);
	struct files_node *other = files_node_find(ask->to, ask->to_name);

	if (!reply->error)
		learn_renamed(ask, reply);
	if (!reply->error && ask->request.flags & FILES_EXCHANGE) {
		if (node && other)
			swap(ask, node, other);
	} else if (!reply->error && node) {
		move(ask, node);
	} else if (!reply->error && other) {
		files_node_unlink(other);
	}
	fuse_reply_err(ask->req, reply->error);
}

void guest_rename(fuse_req_t req, const struct node *dir, const char *name,
		  const struct node *to, const char *to_name, unsigned flags)
{
	struct ask *ask;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	ask = ask_new(req, dir, FILES_RENAME);
	if (!ask || !ask_name(ask, name) || !ask_to(ask, to->file, to_name))
		return;
	ask->request.flags = FILES_WATCH;
	if (flags & RENAME_NOREPLACE)
		ask->request.flags |= FILES_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		ask->request.flags |= FILES_EXCHANGE;
	ask_go(ask, renamed);
}
