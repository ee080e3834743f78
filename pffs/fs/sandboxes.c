/*
 * The requests that make, move and remove sandboxes and templates.
 */
#include "pffs/core/template.h"
#include "pffs/fs/guest.h"
#include "pffs/fs/later.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/terminal.h"

#include <errno.h>
#include <stdlib.h>

struct pending {
	struct later later;
	struct fork *fork; /* of mkdir */
	struct node dir;   /* of which later has the reference */
};

static void interrupted(fuse_req_t req, void *data)
{
	struct fork **fork = data;

	(void)req;
	if (*fork)
		fork_cancel(*fork);
}

bool fs_on_interrupt(fuse_req_t req, fuse_interrupt_func_t fn, void *data)
{
	/* Asked first: libfuse would call back at once, inside its own lock. */
	if (fuse_req_interrupted(req)) {
		fuse_reply_err(req, EINTR);
		return false;
	}
	fuse_req_interrupt_func(req, fn, data);
	return true;
}

bool fs_may_wait(fuse_req_t req, struct fork **fork)
{
	return fs_on_interrupt(req, interrupted, fork);
}

static struct pending *pending_new(fuse_req_t req, const struct node *dir)
{
	struct pending *pending = malloc(sizeof(*pending));

	if (!pending) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	*pending = (struct pending){.dir = *dir};
	later_init(&pending->later, req, dir->fs, dir->sb, 0);
	return pending;
}

static void pending_free(struct pending *pending)
{
	later_fini(&pending->later);
	free(pending);
}

static void refuse(struct pending *pending, const struct error *err)
{
	fs_refuse(pending->later.req, pending->dir.fs, pending->dir.sb, err);
	pending_free(pending);
}

static void made(void *ctx, struct sandbox *const *children, const struct error *err)
{
	struct pending *pending = ctx;
	struct node node = pending->dir;

	if (err) {
		refuse(pending, err);
		return;
	}
	node.kind = KIND_SANDBOX;
	node.sb = children[0];
	fs_reply_entry(pending->later.req, &node);
	pending_free(pending);
}

void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	const char *const names[] = {name};
	struct fork_order order = {
	    .names = names, .count = 1, .uid = who->uid, .gid = who->gid};
	struct pending *pending;
	struct node dir;
	struct error err;

	if (!fs_node(req, parent, &dir))
		return;
	if (node_is_guest(&dir)) {
		guest_mkdir(req, &dir, name, mode);
		return;
	}
	if (dir.kind == KIND_PTY) {
		terminal_mkdir(req, &dir, name);
		return;
	}
	if (!node_folder(&dir, &order.folder)) {
		fs_refuse_change(req, parent);
		return;
	}
	pending = pending_new(req, &dir);
	if (!pending)
		return;
	order.handle = &pending->fork;
	if (!fs_may_wait(req, &pending->fork))
		pending_free(pending);
	else if (node_fork(&dir, &order, made, pending, &err) < 0)
		refuse(pending, &err);
}

static void remove_sandbox(fuse_req_t req, const struct node *node)
{
	struct error err;

	if (sandbox_in_folder(node->fs->core, FOLDER_FORKS(node->sb->serial))) {
		error_say(&err, EBUSY, "%s has forks: remove or move them first",
			  node->sb->name);
		node->fs->core->error = err; /* whoever removes looks there */
		fs_refuse(req, node->fs, node->sb, &err);
		return;
	}
	sandbox_destroy(node->sb);
	fuse_reply_err(req, 0);
}

static void remove_template(fuse_req_t req, const struct node *node)
{
	struct error err;

	if (template_remove(node->fs->core, node->template, &err) < 0)
		fs_refuse(req, node->fs, NULL, &err);
	else
		fuse_reply_err(req, 0);
}

void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node dir, node;

	if (ino_is_guest(parent)) {
		if (fs_node(req, parent, &dir))
			guest_rmdir(req, &dir, name);
		return;
	}
	if (!fs_child(req, parent, name, &node))
		return;
	if (node.kind == KIND_SANDBOX)
		remove_sandbox(req, &node);
	else if (node.kind == KIND_TEMPLATE)
		remove_template(req, &node);
	else if (node.kind == KIND_TERMINAL)
		terminal_rmdir(req, &node);
	else
		fs_refuse_change(req, parent);
}

static void move_sandbox(fuse_req_t req, const struct node *node, folder_t folder,
			 const char *name)
{
	struct error err;

	if (sandbox_rename(node->sb, folder, name, &err) < 0)
		fs_refuse(req, node->fs, NULL, &err);
	else
		fuse_reply_err(req, 0);
}

static void frozen(void *ctx, const struct error *err)
{
	struct pending *pending = ctx;

	if (err) {
		refuse(pending, err);
		return;
	}
	fuse_reply_err(pending->later.req, 0);
	pending_free(pending);
}

/* The sentence goes to the root's `error`, whose user moves things about in it. */
static void freeze_sandbox(fuse_req_t req, const struct node *node, const struct node *to,
			   const char *name)
{
	struct pending *pending = pending_new(req, to);
	struct error err;

	if (pending && template_freeze(node->sb, name, frozen, pending, &err) < 0)
		refuse(pending, &err);
}

/* Between the guest's files and anything else the user's program copies. */
static void rename_file(fuse_req_t req, fuse_ino_t parent, const char *name,
			fuse_ino_t newparent, const char *newname, unsigned flags)
{
	struct node from, to;

	if (!fs_node(req, parent, &from) || !fs_node(req, newparent, &to))
		return;
	if (node_is_guest(&from) && node_is_guest(&to) && from.sb == to.sb)
		guest_rename(req, &from, name, &to, newname, flags);
	else
		fuse_reply_err(req, EXDEV);
}

void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned flags)
{
	struct node to, node;
	folder_t folder = FOLDER_ROOT;

	if (ino_is_guest(parent) || ino_is_guest(newparent)) {
		rename_file(req, parent, name, newparent, newname, flags);
		return;
	}
	if (!fs_node(req, newparent, &to) || !fs_child(req, parent, name, &node))
		return;
	if (flags & ~1u) /* 1 is RENAME_NOREPLACE, which is what we do */
		fuse_reply_err(req, EINVAL);
	else if (node.kind == KIND_SANDBOX && to.kind == KIND_TEMPLATES)
		freeze_sandbox(req, &node, &to, newname);
	else if (node.kind == KIND_SANDBOX && node_folder(&to, &folder))
		move_sandbox(req, &node, folder, newname);
	else
		fs_refuse_change(req, parent);
}
