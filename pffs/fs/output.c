/*
 * What comes out: the streams of a run, its exit code, and `new`.
 *
 * A file of a sandbox is bound to the newest run when it is opened, one under
 * runs/N to that run. The streams are seekable: a read at their end waits while
 * the run goes on, and is the end of file afterwards.
 */
#include "pffs/core/place.h"
#include "pffs/core/template.h"
#include "pffs/core/watch.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/handle.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

static struct run *shown_run(const struct node *node)
{
	return node->run ? node->run : sandbox_newest(node->sb);
}

static int open_run(struct handle *h, struct error *err)
{
	struct run *run = shown_run(&h->node);

	(void)err;
	if (!run)
		return 0;
	h->run = run_ref(run);
	watch_add(&run->watchers, &h->watch, handle_changed);
	return 0;
}

static enum run_stream which_stream(const struct node *node)
{
	switch (node->kind) {
	case KIND_STDOUT:
	case KIND_RUN_STDOUT:
		return RUN_STDOUT;
	case KIND_STDERR:
	case KIND_RUN_STDERR:
		return RUN_STDERR;
	default:
		return RUN_OUTPUT;
	}
}

static ssize_t read_stream(struct handle *h, uint64_t offset, char *to, size_t len)
{
	ssize_t n;

	if (!h->run)
		return 0;
	n = stream_read(&h->run->streams[which_stream(&h->node)], offset, to, len);
	return n == 0 && h->run->state != RUN_ENDED ? -EAGAIN : n;
}

static unsigned poll_stream(const struct handle *h)
{
	if (!h->run || h->run->state == RUN_ENDED ||
	    h->run->streams[which_stream(&h->node)].size > h->pos)
		return EPOLLIN;
	return 0;
}

static uint64_t size_stream(const struct node *node)
{
	const struct run *run = shown_run(node);

	return run ? run->streams[which_stream(node)].size : 0;
}

#define STREAM_OPS                                                                         \
	{                                                                                  \
		.open = open_run, .read = read_stream, .poll = poll_stream,                \
		.size = size_stream                                                        \
	}

const struct file_ops stdout_ops = STREAM_OPS;
const struct file_ops stderr_ops = STREAM_OPS;
const struct file_ops output_ops = STREAM_OPS;

/* An exit code is at most three digits. */
static int format_exit(const struct run *run, char text[8])
{
	if (!run || run->state != RUN_ENDED)
		return 0;
	return snprintf(text, 8, "%d\n", run->exit_code & 0xff);
}

static ssize_t read_exit(struct handle *h, uint64_t offset, char *to, size_t len)
{
	char text[8];

	if (h->run && h->run->state != RUN_ENDED)
		return -EAGAIN;
	if (!h->text) {
		int n = format_exit(h->run, text);

		handle_text(h, strndup(text, (size_t)n), (size_t)n);
	}
	return handle_read_text(h, offset, to, len);
}

static unsigned poll_exit(const struct handle *h)
{
	return !h->run || h->run->state == RUN_ENDED ? EPOLLIN : 0;
}

static uint64_t size_exit(const struct node *node)
{
	char text[8];

	return (uint64_t)format_exit(shown_run(node), text);
}

const struct file_ops exit_ops = {
    .open = open_run, .read = read_exit, .poll = poll_exit, .size = size_exit};

/* All of it at once, when it has come. */
static ssize_t read_changes(struct handle *h, uint64_t offset, char *to, size_t len)
{
	const struct run *run = h->run;

	if (run->state != RUN_ENDED || run->changes_due)
		return -EAGAIN;
	if (run->changes_lost)
		return -EIO;
	return stream_read(&run->streams[RUN_CHANGES], offset, to, len);
}

static unsigned poll_changes(const struct handle *h)
{
	return h->run->state == RUN_ENDED && !h->run->changes_due ? EPOLLIN : 0;
}

static uint64_t size_changes(const struct node *node)
{
	return node->run->changes_due ? 0 : node->run->streams[RUN_CHANGES].size;
}

const struct file_ops run_changes_ops = {
    .open = open_run, .read = read_changes, .poll = poll_changes, .size = size_changes};

static ssize_t read_figure(struct handle *h, uint64_t offset, char *to, size_t len)
{
	ssize_t n = stream_read(&h->run->figures[h->node.figure], offset, to, len);

	return n == 0 && !run_figure_is_whole(h->run, h->node.figure) ? -EAGAIN : n;
}

static unsigned poll_figure(const struct handle *h)
{
	return run_figure_is_whole(h->run, h->node.figure) ||
		       h->run->figures[h->node.figure].size > h->pos
		   ? EPOLLIN
		   : 0;
}

static uint64_t size_figure(const struct node *node)
{
	return node->run->figures[node->figure].size;
}

const struct file_ops figure_ops = {
    .open = open_run, .read = read_figure, .poll = poll_figure, .size = size_figure};

static ssize_t read_code(struct handle *h, uint64_t offset, char *to, size_t len)
{
	return stream_read(&h->run->code, offset, to, len);
}

static uint64_t size_code(const struct node *node)
{
	return node->run->code.size;
}

const struct file_ops code_ops = {.open = open_run, .read = read_code, .size = size_code};

static int make_sandbox(struct handle *h)
{
	struct core *core = h->fs->core;
	char name[SANDBOX_NAME_MAX + 1], *text = NULL;
	const char *const names[] = {name};
	struct fork_order order = {
	    .folder = FOLDER_ROOT,
	    .names = names,
	    .count = 1,
	    .uid = h->uid,
	    .gid = h->gid,
	    .early = true,
	};
	int len;

	if (place_fresh_name(core, name) < 0)
		return -EIO;
	templates_find(&core->templates, "default");
	if (template_fork(core, core->templates.fallback, &order, NULL, NULL,
			  &core->error) < 0)
		return core->error.code;
	len = asprintf(&text, "%s\n", name);
	if (len < 0)
		return -ENOMEM;
	handle_text(h, text, (size_t)len);
	return 0;
}

/* The first read makes the sandbox; looking at the file does not. */
static ssize_t read_new(struct handle *h, uint64_t offset, char *to, size_t len)
{
	int r = h->text ? 0 : make_sandbox(h);

	return r < 0 ? r : handle_read_text(h, offset, to, len);
}

const struct file_ops new_ops = {.read = read_new};
