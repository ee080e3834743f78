/*
 * Locks on files of the guest, which conflict with its programs' own.
 */
#include "pffs/fs/guest.h"

#include <errno.h>
#include <string.h>
#include <sys/file.h>

static struct ask *ask_lock(fuse_req_t req, const struct fuse_file_info *fi,
			    const struct flock *lock, enum files_op op)
{
	struct guest_file *file = guest_file(fi);
	const struct node node = {.sb = file->sb, .file = file->node};
	struct ask *ask = ask_new(req, &node, op);

	if (!ask)
		return NULL;
	ask_by(ask, file);
	ask->request.owner = fi->lock_owner;
	ask->request.mode = (uint32_t)lock->l_type;
	ask->request.offset = (uint64_t)lock->l_start;
	ask->request.size = (uint64_t)lock->l_len;
	return ask;
}

static size_t owner_count(const struct guest_file *file)
{
	return file->lockers.len / sizeof(uint64_t);
}

static uint64_t *owners(const struct guest_file *file)
{
	return (uint64_t *)(void *)(uintptr_t)buf_peek(&file->lockers);
}

static uint64_t *find_owner(const struct guest_file *file, uint64_t owner)
{
	for (size_t i = 0; i < owner_count(file); i++)
		if (owners(file)[i] == owner)
			return &owners(file)[i];
	return NULL;
}

bool guest_lock_has(const struct files_node *node, uint64_t owner)
{
	const struct guest_file *file;

	if (!node->locked)
		return false;
	list_for_each (file, &node->opens, struct guest_file, link)
		if (find_owner(file, owner))
			return true;
	return false;
}

static void forget(struct guest_file *file, uint64_t owner)
{
	uint64_t *at = find_owner(file, owner);

	if (!at)
		return;
	*at = owners(file)[owner_count(file) - 1];
	file->lockers.len -= sizeof(owner);
}

static void look_for_owners(struct files_node *node)
{
	const struct guest_file *file;

	node->locked = false;
	list_for_each (file, &node->opens, struct guest_file, link)
		node->locked |= owner_count(file) != 0;
}

void guest_lock_forget(struct files_node *node, uint64_t owner)
{
	struct guest_file *file;

	list_for_each (file, &node->opens, struct guest_file, link)
		forget(file, owner);
	look_for_owners(node);
}

static int remember(struct guest_file *file, uint64_t owner)
{
	file->node->locked = true;
	return find_owner(file, owner) ? 0
				       : buf_append(&file->lockers, &owner, sizeof(owner));
}

static void unlocked(void *ctx, const struct files_reply *reply)
{
	(void)reply;
	guest_file_unref(ctx);
}

/* Locks of open files (F_OFD_SETLK) are not among those that the kernel lets go of. */
void guest_lock_release(struct guest_file *file)
{
	for (size_t i = 0; i < owner_count(file) && guest_file_live(file); i++) {
		const struct files_request request = {.op = FILES_SETLK,
						      .handle = file->handle,
						      .owner = owners(file)[i],
						      .mode = F_UNLCK};

		if (files_request(file->sb, &request, unlocked, guest_file_ref(file),
				  NULL) < 0)
			guest_file_unref(file);
	}
	file->lockers.len = 0;
	look_for_owners(file->node);
}

/* Whose lock it is means nothing here: it may be a program's of the guest. */
static void have_lock(struct ask *ask, const struct files_reply *reply)
{
	struct flock lock = {.l_type = (short)reply->value, .l_whence = SEEK_SET};

	if (reply->error) {
		fuse_reply_err(ask->req, reply->error);
		return;
	}
	if (lock.l_type != F_UNLCK) {
		lock.l_start = (off_t)ask->request.offset;
		lock.l_len = (off_t)ask->request.size;
	}
	fuse_reply_lock(ask->req, &lock);
}

void guest_getlk(fuse_req_t req, struct fuse_file_info *fi, const struct flock *lock)
{
	struct ask *ask = ask_lock(req, fi, lock, FILES_GETLK);

	if (ask)
		ask_go(ask, have_lock);
}

static void wait_for_lock(struct ask *ask)
{
	ask->request.flags = FILES_WAIT;
	list_add_before(&ask->fs->guest_lockers, &ask->locker);
}

void guest_lockers_end(struct fs *fs)
{
	while (!list_empty(&fs->guest_lockers))
		ask_fail(container_of(fs->guest_lockers.next, struct ask, locker), EINTR);
}

void guest_setlk(fuse_req_t req, struct fuse_file_info *fi, const struct flock *lock,
		 bool wait)
{
	struct ask *ask = ask_lock(req, fi, lock, FILES_SETLK);

	if (!ask)
		return;
	ask->unlocks = lock->l_type == F_UNLCK;
	if (wait && !ask->unlocks)
		wait_for_lock(ask);
	if (!ask->unlocks && remember(guest_file(fi), fi->lock_owner) < 0)
		ask_fail(ask, ENOLCK);
	else
		ask_go(ask, ask_done);
}

void guest_flock(fuse_req_t req, struct fuse_file_info *fi, int op)
{
	const struct flock whole = {.l_type = (short)(op & ~LOCK_NB)};
	struct ask *ask = ask_lock(req, fi, &whole, FILES_FLOCK);

	if (!ask)
		return;
	if (!(op & (LOCK_NB | LOCK_UN)))
		wait_for_lock(ask);
	ask_go(ask, ask_done);
}
