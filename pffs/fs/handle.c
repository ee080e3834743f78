#include "pffs/fs/handle.h"

#include "pffs/core/terminal.h"
#include "pffs/fs/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

struct parked {
	struct link link; /* on handle->parked */
	struct handle *h;
	fuse_req_t req;
	size_t len;
	uint64_t offset;
};

void handle_text(struct handle *h, char *text, size_t len)
{
	free(h->text);
	h->text = text;
	h->text_len = text ? len : 0;
}

ssize_t handle_read_text(const struct handle *h, uint64_t offset, char *to, size_t len)
{
	if (offset >= h->text_len)
		return 0;
	if (len > h->text_len - offset)
		len = h->text_len - (size_t)offset;
	memcpy(to, h->text + offset, len);
	return (ssize_t)len;
}

/* Who looks at how a sandbox is, or sets something, does not use it. */
static bool is_use(const struct node *node)
{
	switch (node->kind) {
	case KIND_STATUS:
	case KIND_STATS:
	case KIND_ERROR:
	case KIND_EVENTS:
		return false;
	default:
		return node->sb && kind_info(node->kind)->parent != KIND_CONFIG &&
		       kind_info(node->kind)->parent != KIND_NET;
	}
}

/* Also root, whom the kernel lets open anything, cannot write what is only shown. */
static int check_access(const struct node *node, int flags, struct error *err)
{
	const struct kind_info *info = kind_info(node->kind);
	int access = flags & O_ACCMODE;

	if (access != O_RDONLY && !(info->mode & S_IWUSR))
		return error_say(err, EACCES, "%s is only for reading", info->name);
	if (access != O_WRONLY && !(info->mode & S_IRUSR))
		return error_say(err, EACCES, "%s is only for writing", info->name);
	return 0;
}

int handle_open(const struct node *node, const struct fuse_ctx *who, int flags,
		struct handle **out, struct error *err)
{
	int r = check_access(node, flags, err);
	struct handle *h;

	if (r < 0)
		return r;
	h = calloc(1, sizeof(*h));
	if (!h)
		return error_set(err, ENOMEM, "cannot open another file");
	*h = (struct handle){
	    .fs = node->fs,
	    .ino = node_ino(node),
	    .node = *node,
	    .ops = kind_info(node->kind)->ops,
	    .stream = kind_info(node->kind)->ops->stream,
	    .flags = flags,
	    .uid = who->uid,
	    .gid = who->gid,
	};
	list_init(&h->parked);
	list_add_before(&h->fs->open, &h->link);
	list_init(&h->watch.link);
	if (h->node.sb)
		sandbox_ref(h->node.sb);
	if (is_use(&h->node))
		limits_open(h->node.sb);
	if (h->node.run)
		run_ref(h->node.run);
	if (h->node.terminal)
		terminal_ref(h->node.terminal);
	if (h->node.target)
		sandbox_ref(h->node.target);
	if (h->ops->open)
		r = h->ops->open(h, err);
	if (r < 0)
		handle_close(h);
	else
		*out = h;
	return r;
}

struct handle *handle_find(const struct fs *fs, fuse_ino_t ino)
{
	struct handle *h;

	list_for_each (h, &fs->open, struct handle, link)
		if (h->ino == ino)
			return h;
	return NULL;
}

void handle_close(struct handle *h)
{
	struct parked *parked;

	if (h->ops->release)
		h->ops->release(h);
	list_del(&h->link);
	list_del(&h->watch.link);
	list_for_each (parked, &h->parked, struct parked, link) {
		fuse_reply_err(parked->req, EINTR);
		free(parked);
	}
	if (h->poll)
		fuse_pollhandle_destroy(h->poll);
	if (is_use(&h->node))
		limits_close(h->node.sb);
	sandbox_unref(h->node.sb);
	sandbox_unref(h->node.target);
	terminal_unref(h->node.terminal);
	run_unref(h->node.run);
	run_unref(h->run);
	free(h->text);
	free(h);
}

/* One try. Return: true when the request was answered. */
static bool try_read(struct handle *h, fuse_req_t req, size_t len, uint64_t offset)
{
	ssize_t n =
	    h->ops->read(h, offset, h->fs->scratch, len < FS_IO_MAX ? len : FS_IO_MAX);

	if (n == -EAGAIN) {
		if (!h->stream)
			h->pos = offset; /* where its poll is to look */
		return false;
	}
	if (n < 0) {
		fuse_reply_err(req, (int)-n);
		return true;
	}
	h->pos = offset + (uint64_t)n;
	fuse_reply_buf(req, h->fs->scratch, (size_t)n);
	return true;
}

static void interrupted(fuse_req_t req, void *data)
{
	struct parked *parked = data;

	list_del(&parked->link);
	free(parked);
	fuse_reply_err(req, EINTR);
}

static void park(struct handle *h, fuse_req_t req, size_t len, uint64_t offset)
{
	struct parked *parked = malloc(sizeof(*parked));

	if (!parked) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	/* Asked first: libfuse would call back at once, inside its own lock. */
	if (fuse_req_interrupted(req)) {
		free(parked);
		fuse_reply_err(req, EINTR);
		return;
	}
	*parked = (struct parked){.h = h, .req = req, .len = len, .offset = offset};
	list_add_before(&h->parked, &parked->link);
	fuse_req_interrupt_func(req, interrupted, parked);
}

void handle_read(struct handle *h, fuse_req_t req, size_t len, uint64_t offset, int flags)
{
	bool in_turn = !h->stream || list_empty(&h->parked);

	if (in_turn && try_read(h, req, len, offset))
		return;
	else if (flags & O_NONBLOCK)
		fuse_reply_err(req, EAGAIN);
	else
		park(h, req, len, offset);
}

static unsigned poll_events(const struct handle *h)
{
	return h->ops->poll ? h->ops->poll(h) : EPOLLIN | EPOLLOUT;
}

void handle_poll(struct handle *h, fuse_req_t req, struct fuse_pollhandle *poll)
{
	if (poll) {
		if (h->poll)
			fuse_pollhandle_destroy(h->poll);
		h->poll = poll;
	}
	fuse_reply_poll(req, poll_events(h));
}

static void answer_parked(struct handle *h)
{
	struct parked *parked;

	list_for_each (parked, &h->parked, struct parked, link) {
		if (try_read(h, parked->req, parked->len, parked->offset)) {
			list_del(&parked->link);
			free(parked);
		} else if (h->stream) {
			return;
		}
	}
}

void handle_changed(struct watch *watch)
{
	struct handle *h = container_of(watch, struct handle, watch);

	answer_parked(h);
	if (!h->poll || !poll_events(h))
		return;
	fuse_lowlevel_notify_poll(h->poll);
	fuse_pollhandle_destroy(h->poll);
	h->poll = NULL;
}

bool handle_may_read(const struct handle *h, const struct sandbox *sb)
{
	mode_t need = S_IRUSR | S_IXUSR;
	mode_t mode = sb->mode;

	if (!h->uid)
		return true;
	if (h->uid != sb->uid)
		mode <<= h->gid == sb->gid ? 3 : 6;
	return (mode & need) == need;
}
