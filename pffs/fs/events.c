/*
 * events: what happens, of all sandboxes or of one, a line each.
 *
 * An open file begins with what is kept, unless where it is to begin is written to it.
 */
#include "pffs/core/watch.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/handle.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

static int begin(struct handle *h, uint64_t from)
{
	const struct sandbox *sb = h->node.sb;

	return events_begin(&h->fs->core->events, &h->events, sb ? sb->serial : 0,
			    sb ? sb->event_count : 0, from);
}

static int open_events(struct handle *h, struct error *err)
{
	(void)err;
	watch_add(&h->fs->core->events.watchers, &h->watch, handle_changed);
	return begin(h, EVENTS_ALL_KEPT);
}

/* The next line, if there is one, is what is read from now. */
static bool take_line(struct handle *h)
{
	char *line = events_next(&h->fs->core->events, &h->events);

	if (!line)
		return false;
	handle_text(h, line, strlen(line));
	h->text_pos = 0;
	return true;
}

static bool is_over(const struct handle *h)
{
	return h->node.sb && h->node.sb->gone;
}

/* A line that does not fit the reader's buffer goes on in its next read. */
static ssize_t read_events(struct handle *h, uint64_t offset, char *to, size_t len)
{
	size_t used = 0;

	(void)offset;
	while (used < len) {
		size_t n = h->text_len - h->text_pos;

		if (!n && !take_line(h))
			break;
		n = h->text_len - h->text_pos;
		if (n > len - used)
			n = len - used;
		memcpy(to + used, h->text + h->text_pos, n);
		h->text_pos += n;
		used += n;
	}
	return used || is_over(h) ? (ssize_t)used : -EAGAIN;
}

static unsigned poll_events(const struct handle *h)
{
	struct events_reader reader = h->events;
	char *line = events_next(&h->fs->core->events, &reader);
	bool more = line || h->text_pos < h->text_len;

	free(line);
	return EPOLLOUT | (more || is_over(h) ? EPOLLIN : 0);
}

/* Return: whether it is "now" or a number, which may end in a newline. */
static bool parse(const char *data, size_t len, uint64_t *from)
{
	char text[24], *end;

	if (len && data[len - 1] == '\n')
		len--;
	if (!len || len >= sizeof(text))
		return false;
	memcpy(text, data, len);
	text[len] = '\0';
	*from = EVENTS_NOW;
	if (strcmp(text, "now") == 0)
		return true;
	errno = 0;
	*from = strtoull(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && !*end && !errno && *from != EVENTS_NOW;
}

static int write_events(struct handle *h, const char *data, size_t len, struct error *err)
{
	uint64_t from;

	if (!parse(data, len, &from))
		return error_say(err, EINVAL,
				 "where to begin is `now` or the seq of an event");
	if (begin(h, from) < 0)
		return error_say(err, EINVAL,
				 "there is no such event yet: the next is %llu",
				 (unsigned long long)h->fs->core->events.next);
	handle_text(h, NULL, 0);
	h->text_pos = 0;
	return 0;
}

#define EVENTS_OPS                                                                         \
	{                                                                                  \
		.stream = true, .open = open_events, .read = read_events,                  \
		.write = write_events, .poll = poll_events                                 \
	}

const struct file_ops all_events_ops = EVENTS_OPS;
const struct file_ops events_ops = EVENTS_OPS;
