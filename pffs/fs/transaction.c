/*
 * What goes in: code through `exec` and `bash`, and bytes through `stdin`.
 *
 * One open of `exec` is one run, begun by the first byte written and started when
 * the last descriptor of the open closes. A reader of the same open starts it
 * sooner: its first read says that the code is complete, and gives that run's
 * output. After the end of file a write begins the next run.
 */
#include "pffs/core/guest/guest.h"
#include "pffs/core/watch.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/handle.h"

#include <errno.h>
#include <sys/epoll.h>

static void unbind(struct handle *h)
{
	list_del(&h->watch.link);
	run_unref(h->run);
	h->run = NULL;
	h->cursor = 0;
}

static bool read_to_end(const struct handle *h)
{
	return h->run->state == RUN_ENDED && h->cursor >= h->run->streams[RUN_OUTPUT].size;
}

static int begin(struct handle *h, struct error *err)
{
	enum agent_language language =
	    h->node.kind == KIND_BASH ? AGENT_BASH : AGENT_PYTHON;
	struct run *run = sandbox_begin_run(h->node.sb, language, err);

	if (!run)
		return err->code;
	h->run = run_ref(run);
	watch_add(&run->watchers, &h->watch, handle_changed);
	return 0;
}

static int write_code(struct handle *h, const char *data, size_t len, struct error *err)
{
	int r = 0;

	if (h->run && read_to_end(h))
		unbind(h);
	if (!h->run)
		r = begin(h, err);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): begin() has set it */
	if (h->run->state == RUN_ENDED)
		return error_say(err, EIO, "the run ended before its code was complete");
	if (h->run->state != RUN_WRITING)
		return error_say(err, EBUSY,
				 "the run has started: read its output to the end first");
	r = run_write(h->run, data, len);
	if (r == 0)
		return 0;
	sandbox_cancel_run(h->run);
	if (r == -EFBIG)
		return error_say(err, EFBIG, "code is at most %u MiB",
				 AGENT_CODE_MAX >> 20);
	return error_set(err, -r, "cannot keep the code");
}

static ssize_t read_result(struct handle *h, uint64_t offset, char *to, size_t len)
{
	ssize_t n;

	(void)offset; /* it counts the code too */
	if (!h->run)
		return 0;
	sandbox_submit_run(h->run);
	n = stream_read(&h->run->streams[RUN_OUTPUT], h->cursor, to, len);
	if (n > 0)
		h->cursor += (uint64_t)n;
	return n == 0 && h->run->state != RUN_ENDED ? -EAGAIN : n;
}

static void submit(struct handle *h)
{
	if (h->run)
		sandbox_submit_run(h->run);
}

static unsigned poll_result(const struct handle *h)
{
	unsigned events = EPOLLOUT;

	if (h->run &&
	    (h->run->state == RUN_ENDED || h->cursor < h->run->streams[RUN_OUTPUT].size))
		events |= EPOLLIN;
	return events;
}

#define TRANSACTION_OPS                                                                    \
	{                                                                                  \
		.stream = true, .read = read_result, .write = write_code,                  \
		.release = submit, .poll = poll_result                                     \
	}

const struct file_ops exec_ops = TRANSACTION_OPS;
const struct file_ops bash_ops = TRANSACTION_OPS;

static int open_stdin(struct handle *h, struct error *err)
{
	if (h->node.sb->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", h->node.sb->name,
				 h->node.sb->reason);
	h->feed = guest_stdin_open(h->node.sb);
	return h->feed ? 0 : error_set(err, ENOMEM, "cannot open stdin");
}

/* Whose program it feeds: after a merge, maybe not that of the file's sandbox. */
static const struct sandbox *fed_sandbox(const struct handle *h)
{
	const struct run *run = h->feed->run;

	return run && run->sandbox ? run->sandbox : h->node.sb;
}

static int write_stdin(struct handle *h, const char *data, size_t len, struct error *err)
{
	const struct sandbox *sb = fed_sandbox(h);

	if (sb->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
	return guest_stdin_write(h->feed, data, len, err);
}

static void close_stdin(struct handle *h)
{
	if (h->feed)
		guest_stdin_close(h->feed);
}

const struct file_ops stdin_ops = {
    .stream = true, .open = open_stdin, .write = write_stdin, .release = close_stdin};
