#include "pffs/fs/stale.h"

#include "pffs/core/files/files_node.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/node.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGAIN_MS  5u
#define AGAIN_MAX 4096u /* nodes at a time */
#define TRIES	  4u

struct again {
	struct link link;
	fuse_ino_t ino;
	bool dir;
	unsigned tries;
};

/* All of its attributes, and none of its data but for a directory's entries.
 * Return: did the kernel know it? */
static bool forget(const struct fs *fs, fuse_ino_t ino, bool dir)
{
	return fuse_lowlevel_notify_inval_inode(fs->session, ino, dir ? 0 : -1, 0) !=
	       -ENOENT;
}

static void again(struct loop_timer *timer)
{
	struct fs *fs = container_of(timer, struct fs, stale.timer);
	struct again *item;

	list_for_each (item, &fs->stale.again, struct again, link) {
		if (!forget(fs, item->ino, item->dir) && ++item->tries < TRIES)
			continue;
		list_del(&item->link);
		fs->stale.count--;
		free(item);
	}
	if (!list_empty(&fs->stale.again))
		loop_timer_set(fs->loop, timer, AGAIN_MS);
}

static void try_again(struct fs *fs, fuse_ino_t ino, bool dir)
{
	struct again *item = fs->stale.count < AGAIN_MAX ? malloc(sizeof(*item)) : NULL;

	if (!item)
		return;
	*item = (struct again){.ino = ino, .dir = dir};
	if (list_empty(&fs->stale.again))
		loop_timer_set(fs->loop, &fs->stale.timer, AGAIN_MS);
	list_add_before(&fs->stale.again, &item->link);
	fs->stale.count++;
}

/* FUSE_NOTIFY_INC_EPOCH, which libfuse does not have yet. */
static void new_epoch(struct fs *fs)
{
	const struct {
		uint32_t len;
		int32_t code;
		uint64_t unique;
	} epoch = {.len = sizeof(epoch), .code = 8};

	fs->stale.epochs = write(fuse_session_fd(fs->session), &epoch, sizeof(epoch)) > 0;
}

static void forget_names(struct fs *fs)
{
	if (fs->mount.names && fs->stale.epochs)
		new_epoch(fs);
	fs->mount.names = false;
}

static void attributes_changed(struct core_mount *mount, const struct files_node *node,
			       bool names)
{
	struct fs *fs = container_of(mount, struct fs, mount);
	const struct sandbox *sb = node->files->sb;
	fuse_ino_t ino = node_ino_of(sb, node);
	bool dir = node->type == S_IFDIR;

	if (!node_may_see(fs, sb))
		return;
	if (names)
		forget_names(fs);
	if (!forget(fs, ino, dir) && node->lookups)
		try_again(fs, ino, dir);
}

/* Names that this mount changes are not for the others to keep. */
static void not_alone(const struct core *core)
{
	struct core_mount *mount;

	list_for_each (mount, &core->mounts, struct core_mount, link)
		forget_names(container_of(mount, struct fs, mount));
}

void stale_init(struct fs *fs)
{
	not_alone(fs->core);
	list_init(&fs->stale.again);
	loop_timer_init(&fs->stale.timer, again);
	fs->number = ++fs->core->mounted;
	fs->mount.stale = attributes_changed;
	list_add_before(&fs->core->mounts, &fs->mount.link);
	new_epoch(fs);
}

void stale_fini(struct fs *fs)
{
	struct again *item;

	list_del(&fs->mount.link);
	loop_timer_cancel(&fs->stale.timer);
	list_for_each (item, &fs->stale.again, struct again, link) {
		list_del(&item->link);
		free(item);
	}
}
