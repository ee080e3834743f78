#include "pffs/core/run.h"

#include "pffs/core/diff/quote.h"
#include "util/cleanup.h"
#include "wire/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct feed *feed_new(void)
{
	struct feed *feed = calloc(1, sizeof(*feed));

	if (feed)
		*feed = (struct feed){.refs = 1, .bytes = STREAM_EMPTY};
	return feed;
}

struct feed *feed_ref(struct feed *feed)
{
	feed->refs++;
	return feed;
}

void feed_unref(struct feed *feed)
{
	if (!feed || --feed->refs)
		return;
	stream_fini(&feed->bytes);
	free(feed);
}

struct run *run_new(struct sandbox *sandbox, enum agent_language language, uint32_t number,
		    struct feed *feed)
{
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	*run = (struct run){
	    .refs = 1,
	    .sandbox = sandbox,
	    .number = number,
	    .guest_id = number,
	    .language = language,
	    .feed = feed_ref(feed),
	    .code = STREAM_EMPTY,
	};
	for (int i = 0; i < RUN_STREAMS; i++)
		run->streams[i] = STREAM_EMPTY;
	feed->run = run;
	list_init(&run->link);
	list_init(&run->watchers);
	loop_timer_init(&run->deadline, NULL);
	clock_gettime(CLOCK_REALTIME, &run->created);
	return run;
}

int run_add_figure(struct run *run)
{
	struct stream *grown =
	    reallocarray(run->figures, run->figure_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	run->figures = grown;
	run->figures[run->figure_count++] = STREAM_EMPTY;
	return 0;
}

static int share_streams(struct run *to, struct run *from)
{
	int r = stream_share(&to->code, &from->code);

	for (int i = 0; i < RUN_STREAMS && r == 0; i++)
		r = stream_share(&to->streams[i], &from->streams[i]);
	for (unsigned i = 0; i < from->figure_count && r == 0; i++) {
		r = run_add_figure(to);
		if (r == 0)
			r = stream_share(&to->figures[i], &from->figures[i]);
	}
	to->figures_whole = from->figures_whole;
	return r;
}

/* What has not gone to the guest yet will go to both. Return: NULL without memory. */
static struct feed *feed_fork(const struct feed *feed)
{
	struct feed *copy = feed_new();

	if (!copy)
		return NULL;
	copy->window = feed->window;
	copy->ended = feed->ended;
	copy->awaited = feed->writers || feed->awaited;
	if (stream_copy(&copy->bytes, &feed->bytes, feed->sent) == 0)
		return copy;
	feed_unref(copy);
	return NULL;
}

struct run *run_fork(struct run *run, struct sandbox *sandbox)
{
	struct feed *feed = feed_fork(run->feed);
	struct run *copy = NULL;

	if (feed)
		copy = run_new(sandbox, run->language, run->number, feed);
	feed_unref(feed);
	if (!copy)
		return NULL;
	copy->guest_id = run->guest_id;
	copy->queue_order = run->queue_order;
	copy->state = run->state;
	memcpy(copy->interpreter, run->interpreter, sizeof(copy->interpreter));
	copy->created = run->created;
	copy->started = run->started;
	copy->started_ns = run->started_ns;
	copy->timeout_ms = run->timeout_ms;
	copy->changes_due = run->changes_due;
	if (share_streams(copy, run) == 0)
		return copy;
	run_unref(copy);
	return NULL;
}

struct run *run_ref(struct run *run)
{
	run->refs++;
	return run;
}

void run_unref(struct run *run)
{
	if (!run || --run->refs)
		return;
	loop_timer_cancel(&run->deadline);
	for (int i = 0; i < RUN_STREAMS; i++)
		stream_fini(&run->streams[i]);
	for (unsigned i = 0; i < run->figure_count; i++)
		stream_fini(&run->figures[i]);
	free(run->figures);
	stream_fini(&run->code);
	run->feed->run = NULL;
	feed_unref(run->feed);
	free(run);
}

int run_write(struct run *run, const void *data, size_t len)
{
	if (len > AGENT_CODE_MAX - run->code.size)
		return -EFBIG;
	return stream_append(&run->code, data, len);
}

/* Python code whose first line is #!interpreter is a script for that interpreter. */
static void settle_language(struct run *run)
{
	char code[sizeof(run->interpreter)];
	ssize_t len = stream_read(&run->code, 0, code, sizeof(code)), i;

	if (run->language != AGENT_PYTHON || len < 3 || memcmp(code, "#!", 2) != 0)
		return;
	run->language = AGENT_SCRIPT;
	for (i = 2; i < len && (code[i] == ' ' || code[i] == '\t'); i++)
		;
	for (size_t n = 0; i < len && code[i] > ' ' && n < sizeof(run->interpreter) - 1;
	     i++)
		run->interpreter[n++] = code[i];
}

void run_complete(struct run *run)
{
	settle_language(run);
	run->state = RUN_QUEUED;
	watch_notify(&run->watchers);
}

int run_output(struct run *run, enum run_stream which, const void *data, size_t len)
{
	int r = stream_append(&run->streams[which], data, len);

	if (r == 0)
		r = stream_append(&run->streams[RUN_OUTPUT], data, len);
	watch_notify(&run->watchers);
	return r;
}

/* Does the run have a place for it? */
static bool is_next_figure(const struct run *run, uint32_t number)
{
	return number > run->figures_whole && number <= AGENT_FIGURES &&
	       number <= run->figure_count + 1;
}

bool run_takes_figure(const struct run *run, uint32_t number, size_t len)
{
	if (!is_next_figure(run, number))
		return false;
	return number > run->figure_count || !len ||
	       run->figures[number - 1].size + len <= AGENT_FIGURE_MAX;
}

int run_figure(struct run *run, uint32_t number, const void *data, size_t len)
{
	int r = 0;

	if (!is_next_figure(run, number))
		return 0;
	if (number > run->figure_count)
		r = run_add_figure(run);
	if (r == 0 && run->figures[number - 1].size + len <= AGENT_FIGURE_MAX)
		r = stream_append(&run->figures[number - 1], data, len);
	run->figures_whole = len ? number - 1 : number;
	watch_notify(&run->watchers);
	return r;
}

bool run_figure_is_whole(const struct run *run, unsigned index)
{
	return index < run->figures_whole || run->state == RUN_ENDED;
}

/* Print the next entry as a line. Return: 1, 0 at the end of the payload, or -EPROTO. */
static int print_change(struct run *run, struct cursor *c, FILE *out)
{
	char path[FILES_PATH_MAX + 1];
	uint8_t change;

	if (!cursor_left(c))
		return 0;
	change = cursor_get_u8(c);
	if (change == AGENT_CHANGES_END || change == AGENT_CHANGES_UNKNOWN) {
		run->changes_due = false;
		run->changes_lost = change == AGENT_CHANGES_UNKNOWN;
		return cursor_left(c) ? -EPROTO : 0;
	}
	cursor_get_string(c, path, sizeof(path));
	if ((change != AGENT_CREATED && change != AGENT_DELETED &&
	     change != AGENT_MODIFIED) ||
	    c->overflow || !*path || !files_path_ok(path))
		return -EPROTO;
	fprintf(out, "%c ", change);
	quote_path(out, "", path);
	fputc('\n', out);
	return 1;
}

int run_changes(struct run *run, const void *payload, size_t len)
{
	struct cursor c = cursor_over(payload, len);
	cleanup_free char *lines = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&lines, &size);
	int r = out ? 1 : -ENOMEM;

	while (r > 0)
		r = print_change(run, &c, out);
	if (out && fclose(out) != 0)
		r = -ENOMEM;
	if (r == 0)
		r = stream_append(&run->streams[RUN_CHANGES], lines, size);
	if (!run->changes_due)
		stream_seal(&run->streams[RUN_CHANGES]);
	watch_notify(&run->watchers);
	return r;
}

void run_lose_changes(struct run *run)
{
	if (!run->changes_due)
		return;
	run->changes_due = false;
	run->changes_lost = true;
	watch_notify(&run->watchers);
}

void run_seal(struct run *run)
{
	if (run->state != RUN_ENDED)
		return;
	run->feed->ended = true;
	stream_seal(&run->code);
	for (int i = 0; i < RUN_STREAMS; i++)
		stream_seal(&run->streams[i]);
	for (unsigned i = 0; i < run->figure_count; i++)
		stream_seal(&run->figures[i]);
}

void run_explain_timeout(struct run *run, uint64_t limit_ms)
{
	const char *then = run->language == AGENT_PYTHON
			       ? "; Python begins anew, without its variables"
			       : "";
	char text[128];
	int len;

	if (!run->timed_out || run->state == RUN_ENDED)
		return;
	if (run->timeout_ms)
		limit_ms = run->timeout_ms;
	if (limit_ms)
		len = snprintf(text, sizeof(text),
			       "pffs: killed after %g s: its time limit%s\n",
			       (double)limit_ms / 1000, then);
	else
		len =
		    snprintf(text, sizeof(text), "pffs: killed: its time limit%s\n", then);
	run_output(run, RUN_STDERR, text, (size_t)len);
}

void run_end(struct run *run, int exit_code)
{
	if (run->state == RUN_ENDED)
		return;
	run->state = RUN_ENDED;
	run->exit_code = exit_code;
	clock_gettime(CLOCK_REALTIME, &run->ended);
	loop_timer_cancel(&run->deadline);
	run_seal(run);
	watch_notify(&run->watchers);
}

const char *run_language(const struct run *run)
{
	switch (run->language) {
	case AGENT_PYTHON:
		return "python";
	case AGENT_BASH:
		return "bash";
	default:
		return run->interpreter;
	}
}

const char *run_state_name(const struct run *run)
{
	static const char *const names[] = {
	    [RUN_WRITING] = "writing",
	    [RUN_QUEUED] = "queued",
	    [RUN_RUNNING] = "running",
	    [RUN_ENDED] = "ended",
	};

	return names[run->state];
}
