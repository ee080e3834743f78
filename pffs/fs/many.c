/*
 * forks/.n: many forks with one pause. What is written is a count or the names of the
 * children; the write is answered when all of them are there, or none. What is read is
 * the names in the folder.
 */
#include "pffs/core/fork.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/text.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

#define TEXT_MAX 4096 /* what a program's output buffer holds, at least */
#define BLANKS	 " \t\n"

static void print_name(void *ctx, const char *name, const struct node *node)
{
	if (node->kind == KIND_SANDBOX)
		fprintf(ctx, "%s\n", name);
}

static void render_names(const struct node *node, FILE *out)
{
	struct node folder = *node;

	folder.kind = kind_info(node->kind)->parent;
	node_list(&folder, print_name, out);
}

/* A write that is answered when the children are there. */
struct pending {
	fuse_req_t req;
	struct fork *fork;
	struct fs *fs;
	struct sandbox *sb; /* reference, or NULL for a template's */
	size_t len;
};

static void pending_free(struct pending *pending)
{
	struct fs *fs = pending->fs;

	sandbox_unref(pending->sb);
	free(pending);
	fs_settle(fs);
}

static void answer(struct pending *pending, const struct error *err)
{
	if (err)
		fs_refuse(pending->req, pending->fs, pending->sb, err);
	else
		fuse_reply_write(pending->req, pending->len);
	pending_free(pending);
}

static void made(void *ctx, struct sandbox *const *children, const struct error *err)
{
	(void)children;
	answer(ctx, err);
}

/* Cut @text into names; one that is a number is a count. Return: 0 or -EINVAL. */
static int parse(char *text, const char **names, struct fork_order *order,
		 struct error *err)
{
	char *rest = text, *name;

	while ((name = strsep(&rest, BLANKS))) {
		if (!*name)
			continue;
		if (order->count == FORK_MAX)
			return error_say(err, EINVAL, "one write makes at most %d forks",
					 FORK_MAX);
		names[order->count++] = name;
	}
	if (order->count == 1 && strspn(names[0], "0123456789") == strlen(names[0])) {
		order->count = strtoul(names[0], NULL, 10);
		return 0;
	}
	order->names = names;
	return order->count
		   ? 0
		   : error_say(err, EINVAL, "write a count, or names for the forks");
}

static int check_text(const char *data, size_t len, struct error *err)
{
	if (memchr(data, '\0', len))
		return error_say(err, EINVAL, "a name has no zero byte");
	if (len > TEXT_MAX || (len == TEXT_MAX && data[len - 1] != '\n'))
		return error_say(err, EINVAL,
				 "names of %d bytes and more may come in pieces: write "
				 "fewer at a time, or a count",
				 TEXT_MAX);
	return 0;
}

static int begin(struct handle *h, const char *data, size_t len, struct pending *pending,
		 struct error *err)
{
	struct fork_order order = {.uid = h->uid, .gid = h->gid, .handle = &pending->fork};
	struct node folder = h->node;
	const char *names[FORK_MAX];
	char text[TEXT_MAX + 1];
	int r = check_text(data, len, err);

	if (r < 0)
		return r;
	memcpy(text, data, len);
	text[len] = '\0';
	r = parse(text, names, &order, err);
	folder.kind = kind_info(h->node.kind)->parent;
	if (r < 0 || !node_folder(&folder, &order.folder))
		return r;
	return node_fork(&folder, &order, made, pending, err);
}

static void write_many(struct handle *h, fuse_req_t req, const char *data, size_t len)
{
	struct pending *pending = malloc(sizeof(*pending));
	struct error err;

	if (!pending) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*pending = (struct pending){.req = req, .fs = h->fs, .sb = h->node.sb, .len = len};
	if (pending->sb)
		sandbox_ref(pending->sb);
	fs_owe(h->fs);
	if (!fs_may_wait(req, &pending->fork))
		pending_free(pending);
	else if (begin(h, data, len, pending, &err) < 0)
		answer(pending, &err);
}

const struct file_ops many_ops = {TEXT_OPS, .render = render_names,
				  .write_later = write_many};
