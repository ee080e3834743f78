/*
 * Reading directories of the guest.
 *
 * Theory of operation: an open directory shows its entries piece by piece: either all of
 * them at once, when a complete listing is known, or frame by frame as the guest gives
 * them. The offset of an entry is its number; of the frames before the one that is here
 * only their first numbers and cookies are kept, so that a reader can go back, and a
 * directory that never ends fills nothing.
 *
 * What was read from its start to its end under one watch becomes what is known of the
 * directory. When all is known the kernel keeps the entries, and next time reads them from
 * what it has, until it is told of a change (stale.h) or what is known is another listing.
 * An offset has the listing's number in its upper half, so that entries of an older one
 * never become part of what the kernel keeps of a newer one.
 */
#include "pffs/fs/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DOTS 2 /* "." and "..", which the guest does not list */

struct frame {
	uint64_t first;	 /* number of its first entry, from 0 */
	uint64_t cookie; /* that it begins behind */
};

struct guest_dir {
	struct link open;		 /* on fs->guest_dirs */
	struct sandbox *sb;		 /* reference */
	struct files_node *node;	 /* reference */
	struct files_listing *complete;	 /* all of it; or NULL, and: */
	struct files_listing *gathering; /* what was read so far, or NULL: no use */
	int32_t watch;			 /* of that */
	struct files_moment asked;	 /* when that began */
	struct buf frames;		 /* struct frame: those that were read */
	struct buf entries;		 /* of the newest one */
	uint64_t first;			 /* number of its first entry */
	uint64_t next_cookie;
	bool end;	 /* it is the last */
	uint32_t handle; /* the guest's, with which it goes on; or 0 */
	uint64_t epoch;	 /* of the handle */

	/* Where the last read ended, in @entries or @complete. */
	uint64_t number;
	size_t at;

	/* What is being read; the kernel asks for one thing at a time. */
	size_t size;
	uint64_t offset;
	bool plus;	   /* with attributes, where they are known */
	struct buf looked; /* struct files_node *: what the kernel looks up by that */
};

static void close_handle(struct guest_dir *dir)
{
	const struct files_request request = {.op = FILES_CLOSE, .handle = dir->handle};

	if (dir->handle && dir->sb->files && dir->epoch == dir->sb->files->epoch)
		files_request(dir->sb, &request, NULL, NULL, NULL);
	dir->handle = 0;
}

static void let_go(struct guest_dir *dir)
{
	close_handle(dir);
	files_listing_unref(dir->complete);
	files_listing_unref(dir->gathering);
	dir->complete = dir->gathering = NULL;
	buf_fini(&dir->frames);
	buf_fini(&dir->entries);
	buf_fini(&dir->looked);
}

/* Does the directory have a listing that is complete? For the kernel, as well. */
static bool may_keep(struct files_node *node)
{
	const struct files_listing *listing = node->listing;

	return listing && listing->complete && !listing->unsure && guest_seconds(node) > 0;
}

static void keep_entries(const struct fs *fs, struct files_node *node,
			 struct fuse_file_info *fi)
{
	if (!may_keep(node))
		return;
	fi->cache_readdir = 1;
	fi->keep_cache =
	    node->entries_of == node->listing->number && node->entries_in == fs->number;
	node->entries_of = node->listing->number;
	node->entries_in = fs->number;
}

/* What the kernel gets now may be of another listing than what it has. */
static void check_entries(const struct guest_dir *dir)
{
	if (!dir->complete || dir->complete->number != dir->node->entries_of)
		dir->node->entries_of = 0;
}

static off_t offset_of(const struct guest_dir *dir, uint64_t number)
{
	uint64_t listing = dir->complete ? dir->complete->number : 0;

	return (off_t)(listing << 32 | number);
}

/* From the start, with what is there now. */
static void rewind_dir(struct guest_dir *dir)
{
	let_go(dir);
	dir->complete = files_cache_complete(dir->node);
	if (!dir->complete && !dir->node->large)
		dir->gathering = files_listing_new();
	dir->watch = -1;
	dir->asked = files_cache_moment(dir->node);
	dir->first = dir->number = dir->next_cookie = 0;
	dir->at = 0;
	dir->end = dir->complete;
}

static const struct buf *entries_of(const struct guest_dir *dir)
{
	return dir->complete ? &dir->complete->entries : &dir->entries;
}

static void close_dir(struct guest_dir *dir)
{
	list_del(&dir->open);
	let_go(dir);
	files_node_unref(dir->node);
	limits_close(dir->sb);
	sandbox_unref(dir->sb);
	free(dir);
}

void guest_opendir(fuse_req_t req, const struct node *node, struct fuse_file_info *fi)
{
	struct guest_dir *dir = calloc(1, sizeof(*dir));

	if (!dir) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	dir->sb = sandbox_ref(node->sb);
	limits_open(dir->sb);
	dir->node = files_node_ref(node->file);
	list_add_before(&node->fs->guest_dirs, &dir->open);
	fi->fh = (uintptr_t)dir;
	keep_entries(node->fs, node->file, fi);
	if (fuse_reply_open(req, fi) == -ENOENT)
		close_dir(dir);
}

void guest_dirs_close(struct fs *fs)
{
	struct guest_dir *dir;

	list_for_each (dir, &fs->guest_dirs, struct guest_dir, open)
		close_dir(dir);
}

void guest_releasedir(fuse_req_t req, struct fuse_file_info *fi)
{
	close_dir((struct guest_dir *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static size_t add_dots(fuse_req_t req, const struct guest_dir *dir, char *to, size_t size,
		       uint64_t from)
{
	static const char *const names[DOTS] = {".", ".."};
	const struct fuse_entry_param entry = {
	    .attr = {.st_ino = node_ino_of(dir->sb, dir->node), .st_mode = S_IFDIR}};
	size_t used = 0;

	for (; from < DOTS; from++)
		used += fs_add_entry(req, dir->plus, to + used, size - used, names[from],
				     &entry, offset_of(dir, from + 1));
	return used;
}

/* The answer to a lookup of the name comes with it, if there is one at once. */
static void look_up(struct guest_dir *dir, const char *name, struct fuse_entry_param *shown)
{
	enum files_known known;
	struct fuse_entry_param found;
	struct files_node *node;
	struct files_attr attr;

	known = guest_known(dir->node, name, &attr);
	if (known != FILES_PRESENT && known != FILES_NAMED)
		return;
	node = guest_entry(dir->node, name, &attr, &found);
	if (!node)
		return;
	if (buf_append(&dir->looked, &node, sizeof(struct files_node *)) == 0)
		*shown = found;
	else
		files_node_forget(node, 1);
}

static size_t add_one(fuse_req_t req, struct guest_dir *dir,
		      const struct files_entry *entry, char *to, size_t size)
{
	struct fuse_entry_param shown = {0};
	size_t len;

	guest_stat(dir->sb, &entry->attr, &shown.attr);
	len = fs_add_entry(req, dir->plus, NULL, 0, entry->name, &shown, 0);
	if (len > size)
		return len;
	if (dir->plus)
		look_up(dir, entry->name, &shown);
	return fs_add_entry(req, dir->plus, to, size, entry->name, &shown,
			    offset_of(dir, dir->number + DOTS + 1));
}

/* Return: bytes; *@more: there was no room for all that is here. -EIO: malformed. */
static ssize_t add_entries(fuse_req_t req, struct guest_dir *dir, char *to, size_t size,
			   bool *more)
{
	const struct buf *entries = entries_of(dir);
	struct cursor c = cursor_over(buf_peek(entries) + dir->at, entries->len - dir->at);
	struct files_entry entry;
	size_t used = 0, len;
	int r;

	*more = false;
	while ((r = files_get_entry(&c, &entry)) == 1) {
		len = entry.attr.mode ? add_one(req, dir, &entry, to + used, size - used)
				      : 0; /* a name that was removed */
		*more = len > size - used;
		if (*more)
			break;
		used += len;
		dir->number++;
		dir->at = entries->len - cursor_left(&c);
	}
	return r < 0 ? r : (ssize_t)used;
}

/* Go to an entry of what is here. */
static void seek_in(struct guest_dir *dir, uint64_t number)
{
	const struct buf *entries = entries_of(dir);
	struct cursor c = cursor_over(buf_peek(entries), entries->len);
	struct files_entry entry;

	if (number == dir->number)
		return;
	dir->number = dir->first;
	dir->at = 0;
	while (dir->number < number && files_get_entry(&c, &entry) == 1) {
		dir->number++;
		dir->at = entries->len - cursor_left(&c);
	}
}

/* Before what is here: its frame is asked for again. */
static void go_back(struct guest_dir *dir, uint64_t number)
{
	const struct frame *frames =
	    (const struct frame *)(const void *)buf_peek(&dir->frames);
	size_t count = dir->frames.len / sizeof(*frames), i = count;

	while (i > 1 && frames[i - 1].first > number)
		i--;
	if (!i)
		return;
	dir->first = dir->number = frames[i - 1].first;
	dir->next_cookie = frames[i - 1].cookie;
	dir->frames.len = (i - 1) * sizeof(*frames);
	dir->at = 0;
	dir->end = false;
	buf_fini(&dir->entries);
	files_listing_unref(dir->gathering);
	dir->gathering = NULL;
	close_handle(dir);
}

/* A frame that goes on with the same watch, or one watch for all. */
static void gather(struct guest_dir *dir, const struct files_reply *reply, bool by_path)
{
	bool same = reply->watch >= 0 && (dir->watch < 0 || dir->watch == reply->watch);
	int r;

	if (!dir->gathering)
		return;
	dir->watch = reply->watch;
	if (same && guest_attr(reply) && S_ISDIR(reply->attr.mode)) {
		if (by_path)
			files_node_seen(dir->node, &reply->attr);
		dir->gathering->self = reply->attr;
		dir->gathering->has_self = true;
	}
	r = same ? files_listing_take(dir->gathering, reply) : -EIO;
	if (r == 0 && !dir->end)
		return;
	dir->node->large |= r == -ENOMEM || r == -EFBIG;
	if (r == 0 && files_cache_unchanged(dir->node, &dir->asked))
		files_cache_install(dir->node, dir->gathering, dir->watch);
	files_listing_unref(dir->gathering);
	dir->gathering = NULL;
}

/* The last entry says where the next frame begins. */
static int take_frame(struct guest_dir *dir, const struct files_reply *reply, bool by_path)
{
	struct frame frame = {.first = dir->first, .cookie = dir->next_cookie};
	struct cursor c = cursor_over(reply->data, reply->data_len);
	struct files_entry entry;
	int r;

	while ((r = files_get_entry(&c, &entry)) == 1)
		dir->next_cookie = entry.cookie;
	if (r == 0)
		r = buf_append(&dir->frames, &frame, sizeof(frame));
	if (r == 0)
		r = buf_append(&dir->entries, reply->data, reply->data_len);
	if (r < 0)
		return -EIO;
	dir->end = reply->value == 1 || !reply->data_len;
	if (reply->handle && reply->handle != dir->handle) {
		close_handle(dir);
		dir->handle = reply->handle;
		dir->epoch = dir->sb->files->epoch;
	}
	gather(dir, reply, by_path);
	return 0;
}

static void show(struct guest_dir *dir, fuse_req_t req);

static void ask_frame(struct guest_dir *dir, fuse_req_t req);

static void have_frame(struct ask *ask, const struct files_reply *reply)
{
	struct guest_dir *dir = ask->context;
	int r = -reply->error;

	if (r == 0)
		r = take_frame(dir, reply, !ask->request.handle);
	if (r == -EBADF && ask->request.handle) {
		dir->handle = 0; /* of another epoch: by the path, then */
		ask_frame(dir, ask->req);
	} else if (r < 0) {
		fuse_reply_err(ask->req, -r);
	} else {
		show(dir, ask->req);
	}
}

/* What is here has been read to its end. */
static void ask_frame(struct guest_dir *dir, fuse_req_t req)
{
	const struct node node = {.sb = dir->sb, .file = dir->node};
	struct ask *ask = ask_new(req, &node, FILES_LIST);

	if (!ask)
		return;
	dir->first = dir->number;
	dir->at = 0;
	buf_fini(&dir->entries);
	if (dir->handle && dir->epoch == dir->sb->files->epoch)
		ask->request.handle = dir->handle;
	ask->context = dir;
	ask->request.flags = FILES_WATCH | FILES_KEEP;
	ask->request.offset = dir->next_cookie;
	ask->request.size = FILES_IO_MAX;
	ask_go(ask, have_frame);
}

/* It was interrupted: the kernel has looked up nothing. */
static void forget_looked(const struct guest_dir *dir)
{
	struct files_node *const *looked = (const void *)buf_peek(&dir->looked);

	for (size_t i = 0; i < dir->looked.len / sizeof(struct files_node *); i++)
		files_node_forget(looked[i], 1);
}

static void reply_entries(struct guest_dir *dir, fuse_req_t req, size_t size)
{
	struct fs *fs = fuse_req_userdata(req);

	if (fuse_reply_buf(req, fs->scratch, size) == -ENOENT)
		forget_looked(dir);
	buf_consume(&dir->looked, dir->looked.len);
}

/* What is wanted may be in what is here, before it, or behind it. */
static void show(struct guest_dir *dir, fuse_req_t req)
{
	struct fs *fs = fuse_req_userdata(req);
	uint64_t number = dir->offset < DOTS ? 0 : dir->offset - DOTS;
	ssize_t n = (ssize_t)add_dots(req, dir, fs->scratch, dir->size, dir->offset);
	bool full = false;

	seek_in(dir, number);
	if (dir->number == number && !n)
		n = add_entries(req, dir, fs->scratch, dir->size, &full);
	if (n < 0)
		fuse_reply_err(req, EIO);
	else if (n || full || dir->end)
		reply_entries(dir, req, (size_t)n);
	else
		ask_frame(dir, req);
}

void guest_readdir(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi,
		   bool plus)
{
	struct guest_dir *dir = (struct guest_dir *)(uintptr_t)fi->fh;

	dir->plus = plus;
	dir->size = size < FS_IO_MAX ? size : FS_IO_MAX;
	dir->offset = (uint64_t)offset & UINT32_MAX;
	if (offset == 0 || !dir->asked.dir)
		rewind_dir(dir);
	else if (dir->offset >= DOTS && dir->offset - DOTS < dir->first)
		go_back(dir, dir->offset - DOTS);
	check_entries(dir);
	show(dir, req);
}
