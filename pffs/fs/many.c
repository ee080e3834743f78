/*
 * forks/.n: many forks with one pause. What is written is a count or the names of the
 * children; the write is answered when all of them are there, or none. What is read is
 * the names in the folder.
 */
#include "pffs/core/fork.h"
#include "pffs/fs/later.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/text.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

#define TEXT_MAX 4096 /* what a program's output buffer holds, at least */

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
	struct later later; /* of no sandbox where it is a template's */
	struct fork *fork;
};

static void pending_free(struct pending *pending)
{
	later_fini(&pending->later);
	free(pending);
}

static void answer(struct pending *pending, const struct error *err)
{
	later_answer_write(&pending->later, err);
	pending_free(pending);
}

static void made(void *ctx, struct sandbox *const *children, const struct error *err)
{
	(void)children;
	answer(ctx, err);
}

/* Cut @text into names; one that is a number is a count. Return: 0 or -EINVAL. */
static int parse(char *text, char **names, struct fork_order *order, struct error *err)
{
	order->count = text_words(text, names, FORK_MAX);
	if (order->count > FORK_MAX)
		return error_say(err, EINVAL, "one write makes at most %d forks", FORK_MAX);
	if (order->count == 1 && strspn(names[0], "0123456789") == strlen(names[0])) {
		order->count = strtoul(names[0], NULL, 10);
		return 0;
	}
	order->names = (const char *const *)names;
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
	char *names[FORK_MAX];
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
	*pending = (struct pending){0};
	later_init(&pending->later, req, h->fs, h->node.sb, len);
	if (!fs_may_wait(req, &pending->fork))
		pending_free(pending);
	else if (begin(h, data, len, pending, &err) < 0)
		answer(pending, &err);
}

const struct file_ops many_ops = {TEXT_OPS, .render = render_names,
				  .write_later = write_many};
