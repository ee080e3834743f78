/*
 * Writing to files of the guest.
 *
 * Theory of operation: a write is answered when it is queued, and its error is told by
 * the next write, flush or fsync of the same open file, as network file systems do. The
 * queue is the file's, since what is read, truncated, locked or looked at later, by
 * whatever open file, waits for what is in it then (guest_ask.c); writes have numbers for
 * that. It is that of one name: a file with several has each write arrive before it is
 * answered.
 *
 * Writes that continue each other become one. What is full goes out at once, several at
 * a time; what is not waits for the one before it, unless somebody waits. Where two
 * overlap, and where the guest is to append, the later one waits for the earlier.
 *
 * Who is not root takes setuid and setgid bits away. For what goes through its page
 * cache the kernel sees to that, but by the mode that it saw last; so the guest is told to.
 *
 * A writer waits when the queue takes more memory than UNWRITTEN_MAX, or all queues of the
 * sandbox more than UNWRITTEN_EACH. When it is interrupted its bytes are as good as
 * written, unless so many were that UNWRITTEN_ENOUGH is reached.
 */
#include "pffs/fs/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define UNWRITTEN_MAX	 (4u << 20)
#define UNWRITTEN_ENOUGH (16u << 20)
#define UNWRITTEN_EACH	 (64u << 20)
#define WRITES_AT_ONCE	 8u
#define WRITES_IN_SIGHT	 64u /* of a queue, among which one is looked for that can go */

struct writing {
	struct link link;	 /* on node->writes */
	struct guest_file *file; /* reference */
	struct files_call *call; /* in flight, or NULL */
	uint32_t handle;	 /* by which it went, and when */
	struct files_moment asked;
	uint64_t number;
	uint64_t offset;
	struct buf data;
	size_t takes;	/* memory */
	uint32_t flags; /* FILES_O_APPEND, FILES_DROP_SUID */
	bool reopened;
};

/* A writer for whom there is no room, or whose bytes are to arrive. They are queued. */
struct full {
	struct link link; /* on file->node->full */
	struct fs *fs;
	struct guest_file *file; /* reference */
	fuse_req_t req;
	size_t len;
	uint64_t after; /* the write that is to arrive; 0: it need not */
};

/* What one byte takes is much more than a byte. */
static void account(struct writing *w, size_t takes)
{
	struct files_node *node = w->file->node;

	node->unwritten += takes - w->takes;
	node->files->unwritten += takes - w->takes;
	w->takes = takes;
}

static struct writing *last(const struct files_node *node)
{
	return list_empty(&node->writes)
		   ? NULL
		   : container_of(node->writes.prev, struct writing, link);
}

bool guest_write_arrived(const struct files_node *node, uint64_t number)
{
	return list_empty(&node->writes) ||
	       container_of(node->writes.next, struct writing, link)->number > number;
}

static void reply_full(struct full *full)
{
	int error = full->after ? guest_write_error(full->file) : 0;
	struct fs *fs = full->fs;

	list_del(&full->link);
	if (error)
		fuse_reply_err(full->req, error);
	else
		fuse_reply_write(full->req, full->len);
	guest_file_unref(full->file);
	free(full);
	fs_settle(fs);
}

static bool is_full(const struct files_node *node)
{
	return !list_empty(&node->writes) &&
	       (node->unwritten > UNWRITTEN_MAX || node->files->unwritten > UNWRITTEN_EACH);
}

static void answer_full(struct files_node *node)
{
	struct full *full;

	/* An answer may end a mount, and with it others that wait. */
	while (!list_empty(&node->full)) {
		full = container_of(node->full.next, struct full, link);
		if (full->after ? !guest_write_arrived(node, full->after) : is_full(node))
			return;
		reply_full(full);
	}
}

/* It is done with, well or not. The caller holds the node. */
static void drop(struct writing *w, int error)
{
	if (error && !w->file->error)
		w->file->error = error;
	list_del(&w->link);
	account(w, 0);
	buf_fini(&w->data);
	guest_file_unref(w->file);
	free(w);
}

static void pump(struct files_node *node);

static void finish(struct writing *w, int error)
{
	struct files_node *node = files_node_ref(w->file->node);

	drop(w, error);
	pump(node);
	files_node_unref(node);
}

static void learn(const struct writing *w, const struct files_reply *reply)
{
	struct files_node *node = w->file->node;
	const struct files_attr *attr = guest_attr(reply);
	bool known =
	    attr && files_node_is(node, attr) && files_cache_same(node->parent, &w->asked);

	if (attr)
		files_node_learn(node, attr);
	if (node->parent)
		files_cache_change(node->parent, known ? reply->watch : -1, node->name,
				   attr, NULL);
}

/* Some of it has arrived. Nothing at all is what a full disk would say otherwise. */
static void take_written(struct writing *w, const struct files_reply *reply)
{
	struct files_node *node = w->file->node;

	if (!reply->value || reply->value > w->data.len) {
		finish(w, EIO);
		return;
	}
	learn(w, reply);
	if (reply->value == w->data.len) {
		finish(w, 0);
		return;
	}
	buf_consume(&w->data, (size_t)reply->value);
	w->offset += reply->value;
	pump(node);
}

static void written(void *ctx, const struct files_reply *reply)
{
	struct writing *w = ctx;

	w->call = NULL;
	w->file->node->flying--;
	if (reply->error == EBADF && !w->reopened) {
		w->reopened = true;
		guest_file_lost(w->file, w->handle);
		pump(w->file->node);
	} else if (reply->error) {
		finish(w, reply->error == EBADF ? EIO : reply->error);
	} else {
		take_written(w, reply);
	}
}

static void reopened(void *ctx, const struct files_reply *reply)
{
	struct writing *w = ctx;
	int error = guest_file_reopened(w->file, reply);

	w->call = NULL;
	w->file->node->flying--;
	if (error)
		finish(w, error);
	else
		pump(w->file->node);
}

static int send(struct writing *w)
{
	struct files_node *parent = w->file->node->parent;
	const struct files_request request = {
	    .op = FILES_WRITE,
	    .flags = FILES_WATCH | w->flags,
	    .handle = w->file->handle,
	    .offset = w->offset,
	    .data = buf_peek(&w->data),
	    .data_len = (uint32_t)w->data.len,
	};

	if (!guest_file_live(w->file))
		return guest_file_reopen(w->file, reopened, w, &w->call);
	w->handle = w->file->handle;
	w->asked = files_cache_moment(parent);
	if (parent)
		files_cache_unsure(parent, w->file->node->name, false);
	return files_request(w->file->sb, &request, written, w, &w->call);
}

static bool overlap(const struct writing *a, const struct writing *b)
{
	return a->offset < b->offset + b->data.len && b->offset < a->offset + a->data.len;
}

/* May it go before those that are queued before it have arrived? */
static bool independent(const struct files_node *node, const struct writing *w)
{
	const struct writing *other;

	list_for_each (other, &node->writes, struct writing, link) {
		if (other == w)
			return true;
		if ((other->flags | w->flags) & FILES_O_APPEND || overlap(other, w))
			return false;
	}
	return true;
}

/* More may still be added to the last one, as long as others are on their way. */
static bool can_wait(const struct files_node *node, const struct writing *w)
{
	return w == last(node) && w->data.len < FILES_IO_MAX && list_empty(&node->settle) &&
	       list_empty(&node->full);
}

static struct writing *next_to_send(const struct files_node *node)
{
	unsigned seen = 0;
	struct writing *w;

	if (node->flying >= WRITES_AT_ONCE)
		return NULL;
	list_for_each (w, &node->writes, struct writing, link) {
		if (!w->call && !(node->flying && can_wait(node, w)) &&
		    independent(node, w))
			return w;
		if (++seen == WRITES_IN_SIGHT)
			break;
	}
	return NULL;
}

/* Send what can go, and answer who waited for what has gone. */
static void pump(struct files_node *node)
{
	struct writing *w;
	int r;

	files_node_ref(node);
	while ((w = next_to_send(node))) {
		r = send(w);
		if (r < 0)
			drop(w, -r);
		else
			node->flying++;
	}
	answer_full(node);
	ask_settled(node);
	files_node_unref(node);
}

void guest_write_hurry(struct files_node *node)
{
	pump(node);
}

int guest_write_error(struct guest_file *file)
{
	int error = file->error;

	file->error = 0;
	return error;
}

static struct writing *add(struct guest_file *file, uint64_t offset, uint32_t flags)
{
	struct writing *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->file = guest_file_ref(file);
	w->number = ++file->node->written;
	w->offset = offset;
	w->flags = flags;
	list_add_before(&file->node->writes, &w->link);
	return w;
}

/* The write that this one continues, if it has not gone yet. */
static struct writing *continued(const struct guest_file *file, uint64_t offset,
				 uint32_t flags)
{
	struct writing *w = last(file->node);

	if (!w || w->call || w->file != file || w->flags != flags ||
	    w->data.len >= FILES_IO_MAX)
		return NULL;
	return flags & FILES_O_APPEND || w->offset + w->data.len == offset ? w : NULL;
}

static int queue(struct guest_file *file, const char *data, size_t size, uint64_t offset,
		 uint32_t flags)
{
	int r = 0;

	while (r == 0 && size) {
		struct writing *w = continued(file, offset, flags);
		size_t part;

		if (!w)
			w = add(file, offset, flags);
		if (!w)
			return -ENOMEM;
		part = FILES_IO_MAX - w->data.len;
		if (part > size)
			part = size;
		r = buf_append(&w->data, data, part);
		account(w, sizeof(*w) + w->data.room);
		if (r < 0)
			continue;
		data += part;
		offset += part;
		size -= part;
	}
	return r;
}

/* Its bytes are queued: it is as good as done, and must not be done again. */
static void interrupted(fuse_req_t req, void *data)
{
	struct full *full = data;

	(void)req;
	if (full->file->node->unwritten <= UNWRITTEN_ENOUGH)
		reply_full(full);
}

static void reply_when_room(fuse_req_t req, struct guest_file *file, size_t size)
{
	struct files_node *node = file->node;
	bool arrives = node->nlink > 1;
	struct full *full = (arrives || is_full(node)) && !fuse_req_interrupted(req)
				? malloc(sizeof(*full))
				: NULL;

	if (!full) {
		fuse_reply_write(req, size);
		return;
	}
	*full = (struct full){.fs = fuse_req_userdata(req),
			      .file = guest_file_ref(file),
			      .req = req,
			      .len = size,
			      .after = arrives ? node->written : 0};
	fs_owe(full->fs);
	list_add_before(&node->full, &full->link);
	fuse_req_interrupt_func(req, interrupted, full);
}

void guest_write(fuse_req_t req, const char *data, size_t size, off_t offset,
		 struct fuse_file_info *fi)
{
	struct guest_file *file = guest_file(fi);
	int error = guest_write_error(file);
	uint32_t flags = (fi->flags & O_APPEND ? FILES_O_APPEND : 0) |
			 (fuse_req_ctx(req)->uid ? FILES_DROP_SUID : 0);

	if (!error && file->sb->state == SANDBOX_DEAD)
		error = EIO;
	files_cache_hide(file->node);
	if (!error)
		error = -queue(file, data, size, (uint64_t)offset, flags);
	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	/* Answered first, so that it need not wait for what it makes room for. */
	files_node_ref(file->node);
	reply_when_room(req, file, size);
	pump(file->node);
	files_node_unref(file->node);
}
