/*
 * exec: a run whose output is sent as it comes. A client that goes away leaves the run.
 */
#include "pffs/api/lines.h"
#include "pffs/api/reply.h"
#include "pffs/api/runs.h"

#include <errno.h>
#include <stdlib.h>

struct stream_of_run {
	struct lines lines;
	struct request *r;
};

static void end(struct request *r)
{
	struct stream_of_run *stream = r->state;

	lines_fini(&stream->lines);
	free(stream);
}

static void changed(struct lines *lines)
{
	request_wake(container_of(lines, struct stream_of_run, lines)->r);
}

static ssize_t read_lines(struct request *r, char *to, size_t len)
{
	struct stream_of_run *stream = r->state;

	return lines_read(&stream->lines, to, len);
}

static void exec(struct request *r)
{
	struct stream_of_run *stream = calloc(1, sizeof(*stream));
	struct error err;
	struct run *run;
	char number[16];

	if (!stream) {
		reply_say(r, ENOMEM, "no memory for the run's output");
		return;
	}
	stream->r = r;
	r->state = stream;
	r->end = end;
	run = runs_begin(r, &err);
	if (!run) {
		reply_error(r, &err);
		return;
	}
	snprintf(number, sizeof(number), "%u", run->number);
	lines_init(&stream->lines, run, changed);
	run_unref(run);
	reply_header(r, "Pffs-Run", number);
	reply_header(r, "Cache-Control", "no-store");
	reply_stream(r, MHD_HTTP_OK, "application/x-ndjson", REPLY_OPEN, read_lines);
}

const struct route exec_routes[] = {
    {"POST", "/v1/sandboxes/{id}/exec", exec, ROUTE_SANDBOX | ROUTE_JSON | ROUTE_LARGE},
    {0},
};
