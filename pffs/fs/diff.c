/*
 * changes and diff/: what is different between the files of two sandboxes.
 *
 * The work begins when such a file is opened, and readers wait for the whole text.
 */
#include "pffs/core/diff/diff.h"
#include "pffs/core/record/journal.h"
#include "pffs/fs/handle.h"
#include "pffs/fs/targets.h"
#include "pffs/fs/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static void settled(void *ctx, char *text, size_t len, const struct error *err)
{
	struct handle *h = ctx;

	h->diff = NULL;
	if (err)
		h->failed = sandbox_fail(h->node.sb, err);
	else
		handle_text(h, text, len);
	handle_changed(&h->watch);
}

static enum diff_form form_of(enum kind kind)
{
	switch (kind) {
	case KIND_CHANGES_JSON:
	case KIND_DIFF_JSON:
	case KIND_PARENT_JSON:
	case KIND_TEMPLATE_JSON:
		return DIFF_JSON;
	case KIND_CHANGES_PATCH:
	case KIND_DIFF_PATCH:
	case KIND_PARENT_PATCH:
	case KIND_TEMPLATE_PATCH:
		return DIFF_PATCH;
	default:
		return DIFF_LIST;
	}
}

static bool is_changes(enum kind kind)
{
	return kind >= KIND_CHANGES && kind <= KIND_CHANGES_PATCH;
}

static bool is_parent(enum kind kind)
{
	return kind >= KIND_PARENT_LIST && kind <= KIND_PARENT_PATCH;
}

/* Return: 0 or -errno with @err filled. */
static int find_sides(struct handle *h, struct diff_order *order, struct error *err)
{
	struct sandbox *sb = h->node.sb;
	struct sandbox *other = h->node.target;

	order->from = order->to = sb;
	if (is_changes(h->node.kind)) {
		order->from_of = DIFF_FORK_POINT;
		return 0;
	}
	if (is_parent(h->node.kind) && *sb->parent_id) {
		other = target_parent(h->fs, sb);
		if (!other)
			return error_say(err, ENOENT, "the parent of %s has gone",
					 sb->name);
	}
	if (!other) {
		order->to_of = DIFF_TEMPLATE;
		return 0;
	}
	if (!handle_may_read(h, other))
		return error_say(err, EACCES, "%s is not for you to read", other->name);
	order->to = other;
	return 0;
}

static int open_diff(struct handle *h, struct error *err)
{
	struct diff_order order = {.form = form_of(h->node.kind),
				   .paths = h->node.sb->diff_paths};
	int r = find_sides(h, &order, err);
	struct diff *diff;

	if (r < 0)
		return r;
	diff = diff_begin(&order, settled, h);
	if (diff)
		h->diff = diff;
	return 0;
}

static ssize_t read_diff(struct handle *h, uint64_t offset, char *to, size_t len)
{
	if (h->failed)
		return h->failed;
	return h->text ? handle_read_text(h, offset, to, len) : -EAGAIN;
}

static unsigned poll_diff(const struct handle *h)
{
	return h->diff ? 0 : EPOLLIN;
}

static void release_diff(struct handle *h)
{
	if (h->diff)
		diff_cancel(h->diff);
	h->diff = NULL;
}

const struct file_ops diff_ops = {
    .open = open_diff, .read = read_diff, .poll = poll_diff, .release = release_diff};
