/*
 * What a sandbox has put out lately, as lines of JSON.
 *
 * The newest comes first to be found, and last in the answer: so the runs are looked at
 * from the newest back, each for no more than what is still wanted, and told in order.
 */
#include "pffs/api/lines.h"
#include "pffs/api/reply.h"
#include "pffs/api/runs.h"
#include "pffs/core/sandbox.h"

#include <stdlib.h>
#include <string.h>

#define REPLAY_EVENTS 1000u
#define REPLAY_BYTES  (4u << 20) /* of output that is looked at */

/* Lines of one stream of a run; or its end, without bytes. */
struct part {
	const struct run *run;
	const char *type; /* NULL: its end */
	char *bytes;
	size_t from, len; /* of the bytes: those that are told */
};

struct replay {
	struct buf parts;     /* struct part, the newest first */
	size_t events, bytes; /* that may come yet */
};

/* Where the newest lines begin, at most so many. Sets @count to how many there are. */
static size_t newest_lines(const char *bytes, size_t len, size_t max, size_t *count)
{
	size_t from = len;
	const char *newline;

	for (*count = 0; from && *count < max; ++*count) {
		newline = memrchr(bytes, '\n', from - 1);
		from = newline ? (size_t)(newline - bytes) + 1 : 0;
	}
	return from;
}

static void add_part(struct replay *replay, const struct part *part)
{
	if (buf_append(&replay->parts, part, sizeof(*part)) < 0)
		free(part->bytes);
}

static void look_at_stream(struct replay *replay, const struct run *run,
			   enum run_stream which)
{
	const struct stream *stream = &run->streams[which];
	uint64_t at = stream->size > replay->bytes ? stream->size - replay->bytes : 0;
	struct part part = {.run = run, .type = which == RUN_STDOUT ? "stdout" : "stderr"};
	size_t count;

	if (!replay->events || at == stream->size)
		return;
	part.bytes = runs_bytes(stream, at, &part.len);
	if (!part.bytes)
		return;
	part.from = newest_lines(part.bytes, part.len, replay->events, &count);
	replay->events -= count;
	replay->bytes -= part.len;
	add_part(replay, &part);
}

static void look_at_run(struct replay *replay, const struct run *run)
{
	const struct part end = {.run = run};

	if (run->state == RUN_ENDED) {
		replay->events--;
		add_part(replay, &end);
	}
	look_at_stream(replay, run, RUN_STDERR);
	look_at_stream(replay, run, RUN_STDOUT);
}

static void tell_lines(struct buf *out, const struct part *part, uint64_t *seq)
{
	const struct timespec *time = &part->run->started;
	int64_t ts = (int64_t)time->tv_sec * 1000 + time->tv_nsec / 1000000;

	for (size_t at = part->from; at < part->len;) {
		const char *line = part->bytes + at;
		const char *newline = memchr(line, '\n', part->len - at);
		size_t len = newline ? (size_t)(newline - line) : part->len - at;

		lines_event(out, part->type, line, len, (*seq)++, ts);
		at += len + 1;
	}
}

static void tell(struct buf *out, struct replay *replay)
{
	const struct part *parts = (const void *)buf_peek(&replay->parts);
	uint64_t seq = 0;

	for (size_t i = replay->parts.len / sizeof(*parts); i--;) {
		if (parts[i].type)
			tell_lines(out, &parts[i], &seq);
		else
			lines_exit(out, parts[i].run, seq++);
		free(parts[i].bytes);
	}
	buf_fini(&replay->parts);
}

static void replay(struct request *r)
{
	struct replay replay = {.events = REPLAY_EVENTS, .bytes = REPLAY_BYTES};
	const struct link *at = r->sb->runs.prev;
	struct buf out = {0};
	char *text;

	for (; at != &r->sb->runs && replay.events && replay.bytes; at = at->prev)
		look_at_run(&replay, container_of(at, struct run, link));
	tell(&out, &replay);
	text = malloc(out.len + 1);
	if (text && out.len)
		memcpy(text, buf_peek(&out), out.len);
	reply_bytes(r, MHD_HTTP_OK, "application/x-ndjson", text, out.len);
	buf_fini(&out);
}

const struct route replay_routes[] = {
    {"GET", "/v1/sandboxes/{id}/replay", replay, ROUTE_SANDBOX},
    {0},
};
