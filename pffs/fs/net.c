/*
 * net/: the network of a sandbox (docs/network.md).
 *
 * A write to `allow` or `secrets` is all of it, or, by a descriptor that appends, more of
 * it. A program that writes much does so in pieces, which may end within a line: what comes
 * in whole pages is held until there is a rest, or the descriptor closes, so that there is
 * never half of a list in force. Who opens it to write from its beginning, and writes
 * nothing, has emptied it.
 */
#include "pffs/core/net/net.h"

#include "pffs/core/sandbox.h"
#include "pffs/core/watch.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/handle.h"
#include "pffs/fs/text.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#define PIECE	 4096u	 /* bytes: what is written by a multiple of that may not be all */
#define HELD_MAX 131072u /* bytes: twice what a list may have, for its comments */

static void render_egress(const struct node *node, FILE *out)
{
	fprintf(out, "%s\n", policy_egress_name(node->sb->net.policy->egress));
}

static int store_egress(const struct node *node, char *value, struct error *err)
{
	return net_set_egress(node->sb, value, err);
}

const struct file_ops net_egress_ops = {TEXT_OPS, .render = render_egress,
					.store = store_egress};

static void render_list(const struct node *node, FILE *out)
{
	if (node->kind == KIND_NET_ALLOW)
		net_print_allow(node->sb, out);
	else
		net_print_secrets(node->sb, out);
}

static int set_list(const struct node *node, const char *text, size_t len, bool add,
		    struct error *err)
{
	return node->kind == KIND_NET_ALLOW
		   ? net_set_allow(node->sb, text, len, add, err)
		   : net_set_secrets(node->sb, text, len, add, err);
}

/* Nothing that this descriptor writes counts from now on, nor half of what it has written:
 * but what others have set since then does. */
static int take_back(struct handle *h, int code)
{
	struct sandbox *sb = h->node.sb;
	struct error ignored;

	if (sb->net.policy == h->mine)
		net_set(sb, h->before, &ignored);
	buf_fini(&h->held);
	h->failed = code;
	return code;
}

static void keep(struct policy **place, struct policy *policy)
{
	policy_unref(*place);
	*place = policy_ref(policy);
}

/* What was written is all that comes for now. */
static int take_held(struct handle *h, struct error *err)
{
	struct sandbox *sb = h->node.sb;
	bool add = h->flags & O_APPEND || h->before;
	int r;

	if (!h->held.len)
		return 0;
	if (sb->net.policy != h->mine)
		keep(&h->before, sb->net.policy);
	r = set_list(&h->node, (const char *)buf_peek(&h->held), h->held.len, add, err);
	if (r < 0)
		return take_back(h, r);
	buf_fini(&h->held);
	keep(&h->mine, sb->net.policy);
	return 0;
}

static int write_list(struct handle *h, const char *data, size_t len, struct error *err)
{
	if (h->failed) { /* `error` has said why */
		*err = h->node.sb->error;
		return err->code = h->failed;
	}
	if (h->held.len + len > HELD_MAX)
		return take_back(
		    h, error_say(err, EFBIG, "this file has at most %u bytes", HELD_MAX));
	if (buf_append(&h->held, data, len) < 0)
		return take_back(h, error_set(err, ENOMEM, "cannot keep what is written"));
	return len % PIECE ? take_held(h, err) : 0;
}

static int flush_list(struct handle *h, struct error *err)
{
	int r = take_held(h, err);

	net_apply(h->node.sb);
	return r;
}

static void empty_list(const struct node *node)
{
	struct error err;

	if (set_list(node, "", 0, false, &err) < 0)
		sandbox_fail(node->sb, &err);
	net_apply(node->sb);
}

static void release_list(struct handle *h)
{
	struct error err;

	if (flush_list(h, &err) < 0)
		sandbox_fail(h->node.sb, &err);
	if (h->flags & O_TRUNC && !h->before && !h->failed && !h->node.sb->gone)
		empty_list(&h->node);
	buf_fini(&h->held);
	policy_unref(h->before);
	policy_unref(h->mine);
}

#define LIST_OPS                                                                           \
	{                                                                                  \
		.open = text_open, .read = text_read, .write = write_list,                 \
		.flush = flush_list, .release = release_list, .truncate = empty_list,      \
		.size = text_size, .render = render_list                                   \
	}

const struct file_ops net_allow_ops = LIST_OPS;
const struct file_ops net_secrets_ops = LIST_OPS;

static void render_status(const struct node *node, FILE *out)
{
	net_print_status(node->sb, out);
}

const struct file_ops net_status_ops = {TEXT_OPS, .render = render_status};

/* Offsets count all that was ever logged; what is not kept any more is a hole at the start.
 */
static int open_log(struct handle *h, struct error *err)
{
	(void)err;
	watch_add(&h->node.sb->net.log.watchers, &h->watch, handle_changed);
	return 0;
}

/* Who reads on from where he was goes on with what is kept. */
static ssize_t read_log(struct handle *h, uint64_t offset, char *to, size_t len)
{
	const struct net_log *log = &h->node.sb->net.log;
	uint64_t at = offset == h->pos ? offset + h->cursor : offset;
	ssize_t n;

	if (at < log->kept)
		at = log->kept;
	n = stream_read(&log->lines, at, to, len);
	if (n >= 0)
		h->cursor = at - offset;
	return n;
}

static unsigned poll_log(const struct handle *h)
{
	return h->pos + h->cursor < h->node.sb->net.log.lines.size ? EPOLLIN : 0;
}

static uint64_t size_log(const struct node *node)
{
	return node->sb->net.log.lines.size;
}

static uint64_t start_log(const struct node *node)
{
	return node->sb->net.log.kept;
}

const struct file_ops net_log_ops = {.open = open_log,
				     .read = read_log,
				     .poll = poll_log,
				     .size = size_log,
				     .start = start_log};
