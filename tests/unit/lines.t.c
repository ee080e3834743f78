/* The output of a run as lines of JSON: whatever is between two pieces of it, and however
 * much there is of it. */
#include "pffs/api/lines.h"

#include "tests/unit/tap.h"

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

#define LIMIT_S 60

static struct run *make_run(void)
{
	struct feed *feed = feed_new();
	struct run *run = run_new(NULL, AGENT_PYTHON, 1, feed);

	feed_unref(feed);
	run->state = RUN_RUNNING;
	return run;
}

static void put(struct run *run, enum run_stream which, const char *text)
{
	run_output(run, which, text, strlen(text));
}

/* All that is there, read in pieces of @len bytes. */
static struct buf read_all(struct lines *lines, size_t len)
{
	struct buf all = {0};
	ssize_t n;

	do {
		n = lines_read(lines, buf_reserve(&all, len), len);
		if (n > 0)
			all.len += (size_t)n;
	} while (n > 0);
	ok(n == 0 || n == -EAGAIN, "it is read up to where it ends, or waits");
	return all;
}

/* The data of the next event. */
static json_t *next(struct buf *all)
{
	const char *at = (const char *)buf_peek(all);
	size_t len =
	    all->len ? (size_t)((const char *)memchr(at, '\n', all->len) + 1 - at) : 0;
	json_t *event = json_loadb(at, len, 0, NULL);
	json_t *data = json_incref(json_object_get(event, "data"));

	buf_consume(all, len);
	json_decref(event);
	return data;
}

static void is_next(struct buf *all, const char *want)
{
	json_t *data = next(all);

	is_str(json_string_value(data), want, "the next line");
	json_decref(data);
}

/* What a fork has in common with its parent, and what came later, are read separately. */
static void a_character_across_parts_of_a_stream(void)
{
	struct run *run = make_run();
	struct stream other = STREAM_EMPTY;
	struct lines lines;
	struct buf all;

	put(run, RUN_STDOUT, "caf\xc3");
	stream_share(&other, &run->streams[RUN_STDOUT]);
	put(run, RUN_STDOUT, "\xa9\nna\xc3\xafve \xe2\x82");
	lines_init(&lines, run, NULL);
	all = read_all(&lines, 4096);
	is_next(&all, "caf\xc3\xa9");
	is_int(all.len, 0, "what has no end yet is none");
	buf_fini(&all);
	run_end(run, 0);
	all = read_all(&lines, 4096);
	is_next(&all, "na\xc3\xafve \xef\xbf\xbd");
	buf_fini(&all);
	lines_fini(&lines);
	stream_fini(&other);
	run_unref(run);
}

static void a_long_line(void)
{
	enum { COUNT = 100001 };
	struct run *run = make_run();
	struct lines lines;
	struct buf all;
	json_t *data;
	const char *text;
	size_t right = 0;

	for (int i = 0; i < COUNT; i++)
		stream_append(&run->streams[RUN_STDERR], "\xe2\x82\xac", 3);
	put(run, RUN_STDERR, "\n");
	lines_init(&lines, run, NULL);
	all = read_all(&lines, 1000);
	data = next(&all);
	text = json_string_value(data);
	is_int(json_string_length(data), 3 * COUNT, "a line of many pieces is whole");
	while (text && strncmp(text + 3 * right, "\xe2\x82\xac", 3) == 0)
		right++;
	is_int(right, COUNT, "and none of its characters is lost");
	json_decref(data);
	buf_fini(&all);
	lines_fini(&lines);
	run_unref(run);
}

/* More than one piece has them, and each piece has many. */
static void many_short_lines(void)
{
	enum { COUNT = 2 << 20 };
	static char newlines[1 << 16], to[1 << 16];
	struct run *run = make_run();
	struct lines lines;
	ssize_t n;
	size_t count = 0;

	memset(newlines, '\n', sizeof(newlines));
	for (size_t i = 0; i < COUNT; i += sizeof(newlines))
		stream_append(&run->streams[RUN_STDOUT], newlines, sizeof(newlines));
	lines_init(&lines, run, NULL);
	while ((n = lines_read(&lines, to, sizeof(to))) > 0)
		for (ssize_t i = 0; i < n; i++)
			count += to[i] == '\n';
	is_int(n, -EAGAIN, "it waits for more");
	is_int(count, COUNT, "each empty line was given once");
	lines_fini(&lines);
	run_unref(run);
}

static void nobody_reads(void)
{
	enum { COUNT = 100000 };
	struct run *run = make_run();
	struct lines lines;
	struct buf all;
	size_t sum[2] = {0}, wrong = 0;

	lines_init(&lines, run, NULL);
	for (int i = 0; i < COUNT; i++) {
		put(run, RUN_STDOUT, "a\n");
		put(run, RUN_STDERR, "b\n");
	}
	ok(lines.stretches.len <= 2u << 20, "the order of much output takes little");
	run_end(run, 0);
	all = read_all(&lines, 65536);
	for (int i = 0; i < 2 * COUNT; i++) {
		json_t *data = next(&all);
		const char *text = json_string_value(data);

		if (i < 60000 && (!text || *text != "ab"[i % 2]))
			wrong++;
		if (text)
			sum[*text == 'b']++;
		json_decref(data);
	}
	is_int(sum[0], COUNT, "all of stdout is given");
	is_int(sum[1], COUNT, "and of stderr");
	is_int(wrong, 0, "in order, where it was kept");
	buf_fini(&all);
	lines_fini(&lines);
	run_unref(run);
}

int main(void)
{
	alarm(LIMIT_S);
	a_character_across_parts_of_a_stream();
	a_long_line();
	many_short_lines();
	nobody_reads();
	return done_testing();
}
