/*
 * pty/NAME: what is typed into a terminal and what it shows, its size, its command and
 * its exit code.
 *
 * `data` is a file whose offsets count all that was ever shown; what is not kept any more
 * is a hole at its start, for lseek(2). A read there goes on with what is kept, and the
 * file offset lags behind from then on, until it is set by lseek(2). Opened for reading and
 * writing, `data` is a stream that begins with what is kept, because a write would move the
 * offset.
 */
#include "pffs/fs/terminal.h"

#include "pffs/core/terminal.h"
#include "pffs/core/watch.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/text.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

void terminal_mkdir(fuse_req_t req, const struct node *dir, const char *name)
{
	struct node node = *dir;
	struct error err;

	node.kind = KIND_TERMINAL;
	node.terminal = terminal_new(dir->sb, name, &err);
	if (node.terminal)
		fs_reply_entry(req, &node);
	else
		fs_refuse(req, dir->fs, dir->sb, &err);
}

void terminal_rmdir(fuse_req_t req, const struct node *node)
{
	terminal_remove(node->terminal);
	fuse_reply_err(req, 0);
}

static int open_terminal(struct handle *h, struct error *err)
{
	struct terminal *t = h->node.terminal;
	int r = terminal_start(t, err);

	if (r < 0)
		return r;
	watch_add(&t->watchers, &h->watch, handle_changed);
	return 0;
}

static int open_data(struct handle *h, struct error *err)
{
	h->stream = (h->flags & O_ACCMODE) == O_RDWR;
	return open_terminal(h, err);
}

/* Where the bytes at a file offset are. */
static uint64_t place(const struct handle *h, uint64_t offset)
{
	uint64_t kept = h->node.terminal->kept, at = offset;

	if (h->stream)
		at = h->cursor;
	else if (offset == h->pos) /* and nobody has sought */
		at += h->cursor;
	return at < kept ? kept : at;
}

static ssize_t read_data(struct handle *h, uint64_t offset, char *to, size_t len)
{
	const struct terminal *t = h->node.terminal;
	uint64_t at = place(h, offset);
	ssize_t n = stream_read(&t->screen, at, to, len);

	if (n > 0 && h->stream)
		h->cursor = at + (uint64_t)n;
	else if (n >= 0 && !h->stream)
		h->cursor = at - offset;
	return n == 0 && !t->ended ? -EAGAIN : n;
}

static int write_data(struct handle *h, const char *data, size_t len, struct error *err)
{
	return terminal_type(h->node.terminal, data, len, err);
}

static unsigned poll_data(const struct handle *h)
{
	const struct terminal *t = h->node.terminal;
	bool readable = t->ended || place(h, h->pos) < t->screen.size;

	return (readable ? EPOLLIN : 0) | (terminal_takes_keys(t) ? EPOLLOUT : 0);
}

static uint64_t size_data(const struct node *node)
{
	return node->terminal->screen.size;
}

static uint64_t start_data(const struct node *node)
{
	return node->terminal->kept;
}

const struct file_ops terminal_data_ops = {.open = open_data,
					   .read = read_data,
					   .write = write_data,
					   .poll = poll_data,
					   .size = size_data,
					   .start = start_data};

static void render_size(const struct node *node, FILE *out)
{
	fprintf(out, "%u %u\n", node->terminal->size.rows, node->terminal->size.cols);
}

static bool parse_lines(const char *word, uint16_t *lines)
{
	char *end;
	unsigned long value = strtoul(word, &end, 10);

	*lines = (uint16_t)value;
	return word[0] >= '1' && word[0] <= '9' && !*end && value <= UINT16_MAX;
}

static int store_size(const struct node *node, char *value, struct error *err)
{
	struct agent_size size;
	char *words[2];

	if (text_words(value, words, 2) != 2 || !parse_lines(words[0], &size.rows) ||
	    !parse_lines(words[1], &size.cols))
		return error_say(err, EINVAL,
				 "the size of a terminal is ROWS COLS, such as 24 80");
	terminal_set_size(node->terminal, size);
	return 0;
}

const struct file_ops terminal_size_ops = {TEXT_OPS, .render = render_size,
					   .store = store_size};

static void render_command(const struct node *node, FILE *out)
{
	const char *command = node->terminal->command;

	fprintf(out, "%s\n", command ? command : "bash -l");
}

static int store_command(const struct node *node, char *value, struct error *err)
{
	return terminal_set_command(node->terminal, value, err);
}

const struct file_ops terminal_command_ops = {TEXT_OPS, .render = render_command,
					      .store = store_command};

/* An exit code is at most three digits. */
static size_t format_exit(const struct terminal *t, char text[8])
{
	return t->ended ? (size_t)snprintf(text, 8, "%d\n", t->exit_code & 0xff) : 0;
}

static ssize_t read_exit(struct handle *h, uint64_t offset, char *to, size_t len)
{
	char text[8];
	size_t n = format_exit(h->node.terminal, text);

	if (!n)
		return -EAGAIN;
	if (!h->text)
		handle_text(h, strndup(text, n), n);
	return handle_read_text(h, offset, to, len);
}

static unsigned poll_exit(const struct handle *h)
{
	return h->node.terminal->ended ? EPOLLIN : 0;
}

static uint64_t size_exit(const struct node *node)
{
	char text[8];

	return format_exit(node->terminal, text);
}

const struct file_ops terminal_exit_ops = {
    .open = open_terminal, .read = read_exit, .poll = poll_exit, .size = size_exit};
