/*
 * merge: what became of a fork comes back to the sandbox. What is written is the name of
 * the fork; the write is answered when its machine is the sandbox's. What is read tells
 * of the last merge.
 */
#include "pffs/core/merge.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/text.h"

#include <errno.h>
#include <string.h>

#define TEXT_MAX 4096

static void render_report(const struct node *node, FILE *out)
{
	if (node->sb->merge_report)
		fputs(node->sb->merge_report, out);
}

/* A write that is answered when the merge has come to its end. */
struct pending {
	fuse_req_t req;
	struct merge *merge;
	struct fs *fs;
	struct sandbox *sb; /* reference */
	size_t len;
};

static void pending_free(struct pending *pending)
{
	struct fs *fs = pending->fs;

	sandbox_unref(pending->sb);
	free(pending);
	fs_settle(fs);
}

static void merged(void *ctx, const struct error *err)
{
	struct pending *pending = ctx;

	if (err)
		fs_refuse(pending->req, pending->fs, pending->sb, err);
	else
		fuse_reply_write(pending->req, pending->len);
	pending_free(pending);
}

static void interrupted(fuse_req_t req, void *data)
{
	struct pending *pending = data;

	(void)req;
	if (pending->merge)
		merge_cancel(pending->merge);
}

static int begin(struct pending *pending, const char *data, size_t len, struct error *err)
{
	char text[TEXT_MAX + 1], *rest = text, *name;

	if (len > TEXT_MAX || memchr(data, '\0', len))
		return error_say(err, EINVAL,
				 "what merge takes is text of at most %d bytes", TEXT_MAX);
	memcpy(text, data, len);
	text[len] = '\0';
	while ((name = strsep(&rest, " \t\n")) && !*name)
		;
	if (!name || (rest && rest[strspn(rest, " \t\n")]))
		return error_say(err, EINVAL, "write the name of one fork");
	return merge_begin(pending->sb, name, merged, pending, &pending->merge, err);
}

static void write_merge(struct handle *h, fuse_req_t req, const char *data, size_t len)
{
	struct pending *pending = malloc(sizeof(*pending));
	struct error err;

	if (!pending) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*pending = (struct pending){
	    .req = req, .fs = h->fs, .sb = sandbox_ref(h->node.sb), .len = len};
	fs_owe(h->fs);
	if (!fs_on_interrupt(req, interrupted, pending))
		pending_free(pending);
	else if (begin(pending, data, len, &err) < 0)
		merged(pending, &err);
}

const struct file_ops merge_ops = {TEXT_OPS, .render = render_report,
				   .write_later = write_merge};
