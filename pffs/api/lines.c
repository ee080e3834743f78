#include "pffs/api/lines.h"

#include "pffs/api/text.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>

#define PIECE	  16384u
#define STRETCHES 65536u

struct stretch {
	uint64_t end;
	int64_t ts; /* milliseconds */
	int which;
};

static int64_t now_ms(void)
{
	return (int64_t)(io_realtime_ns() / 1000000u);
}

static int append_text(struct buf *out, const char *text)
{
	return buf_append(out, text, strlen(text));
}

/* Not as they are: what JSON demands, and what readers of lines take for the end of one
 * (str.splitlines() of Python): C1 controls, U+2028 and U+2029. */
static bool is_escaped(long c)
{
	return c < 0x20 || c == '"' || c == '\\' || (c >= 0x7f && c < 0xa0) ||
	       c == 0x2028 || c == 0x2029;
}

static int put_escaped(struct buf *out, long c)
{
	char text[8];

	if (c == '"' || c == '\\')
		snprintf(text, sizeof(text), "\\%c", (char)c);
	else if (c == '\t' || c == '\r' || c == '\n')
		snprintf(text, sizeof(text), "\\%c",
			 c == '\t'   ? 't'
			 : c == '\r' ? 'r'
				     : 'n');
	else
		snprintf(text, sizeof(text), "\\u%04lx", c & 0xffff);
	return append_text(out, text);
}

/* Bytes of a line. @whole: no more of it come. Return: how many were taken, or -ENOMEM. */
static ssize_t put_bytes(struct buf *out, const unsigned char *bytes, size_t len,
			 bool whole)
{
	size_t done = 0, plain = 0, used;
	int r = 0;

	while (done < len && r == 0) {
		long c = bytes[done];

		used = 1;
		if (c >= 0x80)
			c = text_char(bytes + done, len - done, &used);
		if (c < 0 && !whole)
			break;
		if (c >= 0 && c != TEXT_REPLACEMENT && !is_escaped(c)) {
			done += used;
			continue;
		}
		r = buf_append(out, bytes + plain, done - plain);
		if (r == 0)
			r = c < 0 || c == TEXT_REPLACEMENT
				? append_text(out, "\xef\xbf\xbd")
				: put_escaped(out, c);
		done += used;
		plain = done;
	}
	if (r == 0)
		r = buf_append(out, bytes + plain, done - plain);
	return r < 0 ? r : (ssize_t)done;
}

static int put_head(struct buf *out, const char *type)
{
	char text[48];

	snprintf(text, sizeof(text), "{\"type\":\"%s\",\"data\":\"", type);
	return append_text(out, text);
}

static int put_tail(struct buf *out, uint64_t seq, int64_t ts)
{
	char text[64];

	snprintf(text, sizeof(text), "\",\"seq\":%llu,\"ts\":%lld}\n",
		 (unsigned long long)seq, (long long)ts);
	return append_text(out, text);
}

int lines_event(struct buf *out, const char *type, const char *data, size_t len,
		uint64_t seq, int64_t ts)
{
	int r = put_head(out, type);

	if (r == 0 && put_bytes(out, (const unsigned char *)data, len, true) < 0)
		r = -ENOMEM;
	return r < 0 ? r : put_tail(out, seq, ts);
}

int lines_exit(struct buf *out, const struct run *run, uint64_t seq)
{
	char text[96];

	snprintf(text, sizeof(text),
		 "{\"type\":\"exit\",\"data\":%d,\"seq\":%llu,\"ts\":%lld}\n",
		 run->exit_code & 0xff, (unsigned long long)seq,
		 (long long)run->ended.tv_sec * 1000 + run->ended.tv_nsec / 1000000);
	return append_text(out, text);
}

/* The stretch that more lines of that stream belong to, or NULL: a new one. The streams
 * take turns, so that the last but one is that of the other. */
static struct stretch *last_stretch(const struct lines *lines, int which)
{
	size_t count = lines->stretches.len / sizeof(struct stretch);
	struct stretch *all =
	    (struct stretch *)(void *)(lines->stretches.data + lines->stretches.head);

	if (count && all[count - 1].which == which)
		return &all[count - 1];
	return count >= STRETCHES ? &all[count - 2] : NULL;
}

/* Whole lines of one stream up to @end. */
static void note(struct lines *lines, int which, uint64_t end)
{
	struct stretch *last = last_stretch(lines, which);
	struct stretch fresh = {.end = end, .ts = now_ms(), .which = which};

	lines->noted[which] = end;
	if (last)
		last->end = end;
	else if (buf_append(&lines->stretches, &fresh, sizeof(fresh)) < 0)
		lines->error = -ENOMEM;
}

static void look_for_lines(struct lines *lines, int which)
{
	const struct stream *stream = &lines->run->streams[which];
	uint64_t end = lines->noted[which];
	char piece[PIECE];

	while (lines->looked[which] < stream->size) {
		ssize_t n = stream_read(stream, lines->looked[which], piece, sizeof(piece));
		const char *newline;

		if (n <= 0) {
			lines->error = n < 0 ? (int)n : -EIO;
			return;
		}
		newline = memrchr(piece, '\n', (size_t)n);
		if (newline)
			end = lines->looked[which] + (uint64_t)(newline + 1 - piece);
		lines->looked[which] += (uint64_t)n;
	}
	if (lines->ended)
		end = stream->size;
	if (end > lines->noted[which])
		note(lines, which, end);
}

static void look(struct lines *lines)
{
	lines->ended = lines->run->state == RUN_ENDED;
	for (int which = 0; which < LINES_STREAMS; which++)
		look_for_lines(lines, which);
}

static void run_changed(struct watch *watch)
{
	struct lines *lines = container_of(watch, struct lines, watch);

	look(lines);
	if (lines->changed)
		lines->changed(lines);
}

void lines_init(struct lines *lines, struct run *run, void (*changed)(struct lines *lines))
{
	*lines = (struct lines){.run = run_ref(run), .changed = changed, .which = -1};
	watch_add(&run->watchers, &lines->watch, run_changed);
	look(lines);
}

void lines_fini(struct lines *lines)
{
	if (!lines->run)
		return;
	list_del(&lines->watch.link);
	run_unref(lines->run);
	buf_fini(&lines->stretches);
	buf_fini(&lines->out);
	lines->run = NULL;
}

/* Return: is there a stretch to give from? */
static bool next_stretch(struct lines *lines)
{
	struct stretch next;

	if (lines->which >= 0 && lines->at[lines->which] < lines->until)
		return true;
	lines->which = -1;
	if (!lines->stretches.len)
		return false;
	memcpy(&next, buf_peek(&lines->stretches), sizeof(next));
	buf_consume(&lines->stretches, sizeof(next));
	lines->which = next.which;
	lines->until = next.end;
	lines->ts = next.ts;
	return true;
}

/* Up to @len bytes, of which the stream has them all: it may give them in parts.
 * Return: how many, or -errno. */
static ssize_t fill(const struct stream *stream, uint64_t at, unsigned char *to, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = stream_read(stream, at + done, to + done, len - done);

		if (n <= 0)
			return n < 0 ? n : -EIO;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* A line, or what there is of one. @last: nothing more of the stretch comes: a run that
 * has ended may have no last newline. Return: how many bytes were taken, or -errno. */
static ssize_t give_line(struct lines *lines, const unsigned char *bytes, size_t len,
			 bool last)
{
	const unsigned char *newline = memchr(bytes, '\n', len);
	bool whole = newline || last;
	ssize_t taken;
	int r = 0;

	if (!lines->within)
		r = put_head(&lines->out, lines->which == RUN_STDOUT ? "stdout" : "stderr");
	lines->within = true;
	if (r < 0)
		return r;
	taken =
	    put_bytes(&lines->out, bytes, newline ? (size_t)(newline - bytes) : len, whole);
	if (taken < 0 || !whole)
		return taken;
	lines->within = false;
	r = put_tail(&lines->out, lines->count++, lines->ts);
	return r < 0 ? r : taken + (newline != NULL);
}

/* From the next piece of the stretch, until @len bytes are there to be read, or no more
 * than a part of a character is left of it. Return: 0 or -errno. */
static int give(struct lines *lines, size_t len)
{
	uint64_t *at = &lines->at[lines->which];
	uint64_t left = lines->until - *at;
	unsigned char piece[PIECE];
	size_t size = left < sizeof(piece) ? (size_t)left : sizeof(piece), done = 0;
	ssize_t n = fill(&lines->run->streams[lines->which], *at, piece, size);

	if (n < 0)
		return (int)n;
	for (n = 1; n > 0 && done < size && lines->out.len < len;) {
		n = give_line(lines, piece + done, size - done, size == left);
		if (n < 0)
			return (int)n;
		done += (size_t)n;
	}
	*at += done;
	return 0;
}

static int give_exit(struct lines *lines)
{
	lines->told = true;
	return lines_exit(&lines->out, lines->run, lines->count++);
}

ssize_t lines_read(struct lines *lines, char *to, size_t len)
{
	int r = lines->error;

	while (r == 0 && lines->out.len < len) {
		if (next_stretch(lines))
			r = give(lines, len);
		else if (lines->ended && !lines->told)
			r = give_exit(lines);
		else
			break;
	}
	if (r < 0)
		return r;
	if (!lines->out.len)
		return lines->told ? 0 : -EAGAIN;
	if (len > lines->out.len)
		len = lines->out.len;
	memcpy(to, buf_peek(&lines->out), len);
	buf_consume(&lines->out, len);
	return (ssize_t)len;
}
