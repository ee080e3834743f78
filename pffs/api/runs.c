/*
 * Runs: begun, shown, stopped, and the bytes of their streams.
 */
#include "pffs/api/runs.h"

#include "pffs/api/reply.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A request about a run, which it keeps. */
struct of_run {
	struct run *run;
	enum run_stream which;
	bool code, follow;
	uint64_t at, until;
	unsigned with;
};

static void end(struct request *r)
{
	struct of_run *of = r->state;

	run_unref(of->run);
	free(of);
}

static struct of_run *keep(struct request *r, struct run *run)
{
	struct of_run *of = calloc(1, sizeof(*of));

	if (!of) {
		reply_say(r, ENOMEM, "no memory to answer");
		return NULL;
	}
	of->run = run_ref(run);
	r->state = of;
	r->end = end;
	return of;
}

static struct run *find(const struct sandbox *sb, const char *number)
{
	char *rest;
	unsigned long n = strtoul(number, &rest, 10);

	if (strcmp(number, "last") == 0)
		return sandbox_newest(sb);
	if (number[0] < '1' || number[0] > '9' || *rest || n > UINT32_MAX)
		return NULL;
	return sandbox_run(sb, (uint32_t)n);
}

struct run *runs_find(struct request *r)
{
	struct run *run = find(r->sb, r->parameters[1]);

	if (!run)
		reply_say(r, ENOENT, "%s has no run %.20s", r->sb->name, r->parameters[1]);
	return run;
}

/* What it changed is known a moment after its end, or never. */
static void look(struct request *r)
{
	const struct of_run *of = r->state;

	if (of->run->state == RUN_ENDED && !of->run->changes_due)
		reply_json(r, MHD_HTTP_OK, runs_shown(r->sb, of->run, of->with));
}

static void await(struct request *r, struct run *run, unsigned with)
{
	struct of_run *of = keep(r, run);

	if (!of)
		return;
	of->with = with;
	request_watch(r, &run->watchers, look);
	request_look(r, 0);
}

static void begin(struct request *r)
{
	bool wait = true;
	struct error err;
	struct run *run = NULL;

	if (request_flag(r, "wait", &wait, &err) == 0)
		run = runs_begin(r, &err);
	if (!run)
		reply_error(r, &err);
	else if (wait)
		await(r, run, RUNS_OUTPUT | RUNS_FIGURES);
	else
		reply_json(r, MHD_HTTP_ACCEPTED, runs_shown(r->sb, run, RUNS_OUTPUT));
	run_unref(run);
}

static void list(struct request *r)
{
	json_t *runs = json_array();
	const struct run *run;

	list_for_each (run, &r->sb->runs, struct run, link)
		json_array_append_new(runs, runs_shown(r->sb, run, 0));
	reply_json(r, MHD_HTTP_OK, json_pack("{s:o}", "runs", runs));
}

static void get(struct request *r)
{
	struct run *run = runs_find(r);
	const char *figures = request_query(r, "figures");
	unsigned with = RUNS_OUTPUT;
	struct error err;
	int wait;

	if (!run)
		return;
	if (figures && strcmp(figures, "data") == 0)
		with |= RUNS_FIGURES;
	wait = request_query_flag(r, "wait", &err);
	if (wait < 0)
		reply_error(r, &err);
	else if (wait)
		await(r, run, with);
	else
		reply_json(r, MHD_HTTP_OK, runs_shown(r->sb, run, with));
}

/* The one that goes on, by its guest; one that waits goes without having begun. */
static int stop_run(struct sandbox *sb, struct run *run, const char *signal,
		    struct error *err)
{
	bool interrupt = strcmp(signal, "interrupt") == 0;

	if (!interrupt && strcmp(signal, "kill") != 0)
		return error_say(err, EINVAL, "signal is interrupt or kill, not \"%.40s\"",
				 signal);
	if (run->state == RUN_ENDED)
		return error_say(err, EBUSY, "run %u has ended already", run->number);
	if (run->state == RUN_WRITING)
		return error_say(err, EBUSY, "the code of run %u is still being written",
				 run->number);
	if (run == sb->current)
		return guest_ctl(sb, signal, err);
	sandbox_end_run(sb, run, EXIT_KILLED);
	return 0;
}

static void stop(struct request *r)
{
	struct run *run = runs_find(r);
	const char *signal = "kill";
	struct error err;

	if (!run)
		return;
	if (request_text(r, "signal", &signal, &err) < 0 ||
	    stop_run(r->sb, run, signal, &err) < 0)
		reply_error(r, &err);
	else
		reply_empty(r, MHD_HTTP_NO_CONTENT);
}

static ssize_t read_stream(struct request *r, char *to, size_t len)
{
	struct of_run *of = r->state;
	const struct stream *stream =
	    of->code ? &of->run->code : &of->run->streams[of->which];
	ssize_t n;

	if (of->until && len > of->until - of->at)
		len = of->until - of->at;
	n = stream_read(stream, of->at, to, len);
	if (n > 0)
		of->at += (uint64_t)n;
	return n == 0 && of->follow && of->run->state != RUN_ENDED ? -EAGAIN : n;
}

static void send_stream(struct request *r, struct run *run, struct of_run *of)
{
	const struct stream *stream = of->code ? &run->code : &run->streams[of->which];
	bool open = of->follow && run->state != RUN_ENDED;

	of->until = open ? 0 : stream->size;
	reply_stream(r, MHD_HTTP_OK,
		     of->code ? "text/plain; charset=utf-8" : "application/octet-stream",
		     open ? REPLY_OPEN : stream->size, read_stream);
	if (open)
		request_watch(r, &run->watchers, request_wake);
}

static void get_stream(struct request *r)
{
	static const struct {
		const char *name;
		enum run_stream which;
	} streams[] = {
	    {"stdout", RUN_STDOUT}, {"stderr", RUN_STDERR}, {"output", RUN_OUTPUT}};
	const char *name = r->parameters[2];
	struct error err;
	struct run *run = runs_find(r);
	struct of_run *of = run ? keep(r, run) : NULL;
	int follow;

	if (!of)
		return;
	of->which = RUN_STREAMS;
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
		if (strcmp(streams[i].name, name) == 0)
			of->which = streams[i].which;
	of->code = strcmp(name, "code") == 0;
	follow = request_query_flag(r, "follow", &err);
	of->follow = follow > 0;
	if (of->which == RUN_STREAMS && !of->code)
		reply_say(r, ENOENT, "a run has stdout, stderr, output and code");
	else if (follow < 0)
		reply_error(r, &err);
	else
		send_stream(r, run, of);
}

static ssize_t read_figure(struct request *r, char *to, size_t len)
{
	struct of_run *of = r->state;
	ssize_t n = stream_read(&of->run->figures[of->with], of->at, to, len);

	if (n > 0)
		of->at += (uint64_t)n;
	return n;
}

static void get_figure(struct request *r)
{
	struct run *run = runs_find(r);
	char *rest;
	unsigned long k = strtoul(r->parameters[2], &rest, 10);
	struct of_run *of;

	if (!run)
		return;
	if (*rest || k < 1 || k > run->figure_count ||
	    !run_figure_is_whole(run, (unsigned)k - 1)) {
		reply_say(r, ENOENT, "run %u has no figure %.20s", run->number,
			  r->parameters[2]);
		return;
	}
	of = keep(r, run);
	if (!of)
		return;
	of->with = (unsigned)k - 1;
	reply_stream(r, MHD_HTTP_OK, "image/png", run->figures[k - 1].size, read_figure);
}

static void verb(struct request *r, const char *name)
{
	struct error err;

	if (guest_ctl(r->sb, name, &err) < 0)
		reply_error(r, &err);
	else
		reply_empty(r, MHD_HTTP_NO_CONTENT);
}

static void interrupt(struct request *r)
{
	verb(r, "interrupt");
}

static void kill_current(struct request *r)
{
	verb(r, "kill");
}

static void reset(struct request *r)
{
	verb(r, "reset");
}

#define RUNS "/v1/sandboxes/{id}/runs"

const struct route run_routes[] = {
    {"GET", RUNS, list, ROUTE_SANDBOX},
    {"POST", RUNS, begin, ROUTE_SANDBOX | ROUTE_JSON | ROUTE_LARGE},
    {"GET", RUNS "/{n}", get, ROUTE_SANDBOX},
    {"POST", RUNS "/{n}/stop", stop, ROUTE_SANDBOX | ROUTE_JSON},
    {"GET", RUNS "/{n}/figures/{k}", get_figure, ROUTE_SANDBOX},
    {"GET", RUNS "/{n}/{stream}", get_stream, ROUTE_SANDBOX},
    {"POST", "/v1/sandboxes/{id}/interrupt", interrupt, ROUTE_SANDBOX},
    {"POST", "/v1/sandboxes/{id}/kill", kill_current, ROUTE_SANDBOX},
    {"POST", "/v1/sandboxes/{id}/reset", reset, ROUTE_SANDBOX},
    {0},
};
