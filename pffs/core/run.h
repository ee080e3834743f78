/*
 * One run: code, the language it is in, and what came of it.
 *
 * Theory of operation: a run comes into being with the first byte of code that
 * somebody writes (RUN_WRITING). It joins its sandbox's queue when the code is
 * complete, is sent to the guest when its turn comes, and ends once, with an
 * exit code. From then on nothing of it changes, but that the guest tells which files
 * it changed a moment later. It is reference counted: open
 * files keep it when its sandbox has gone.
 *
 * A feed is what goes to a program's stdin. It exists apart from its run because
 * a descriptor opened before the run was made feeds the run that comes.
 */
#pragma once

#include "pffs/core/stream.h"
#include "pffs/core/watch.h"
#include "util/loop.h"
#include "wire/agent.h"

#include <stdbool.h>
#include <time.h>

enum run_state {
	RUN_WRITING, /* its code is being written */
	RUN_QUEUED,  /* complete; waits for the machine or for earlier runs */
	RUN_RUNNING, /* in the guest */
	RUN_ENDED,
};

enum run_stream {
	RUN_STDOUT,
	RUN_STDERR,
	RUN_OUTPUT,
	RUN_CHANGES, /* lines: which files it created, deleted, modified */
	RUN_STREAMS,
};

struct feed {
	unsigned refs;
	unsigned writers; /* open descriptors */
	struct run *run;  /* whose stdin it is; NULL before there is one, and after */
	struct sandbox *ahead_of; /* whose next run it waits for, until that is queued: the
				     sandbox's @ahead is this; or NULL */
	struct stream bytes;	  /* all that was written */
	uint64_t sent;		  /* how much of it went to the guest */
	uint32_t window;	  /* how much more the guest takes now */
	bool awaited; /* of a fork: end of file has to wait for a first writer */
	bool ended;   /* end of file was sent, or the run has ended */
};

struct run {
	struct link link; /* on sandbox->runs while the sandbox keeps it */
	unsigned refs;
	struct sandbox *sandbox; /* NULL once the sandbox has let it go */
	uint32_t number;	 /* 1, 2, ... within the sandbox */
	uint32_t guest_id;	 /* the agent's stream id: its first number, also after a
				    merge */
	uint64_t queue_order;	 /* order of arrival: by completion of the code */
	enum run_state state;
	enum agent_language language;
	char interpreter[128]; /* of AGENT_SCRIPT: what follows #! */
	struct stream code;
	struct stream streams[RUN_STREAMS];
	struct stream *figures; /* PNGs */
	unsigned figure_count;
	unsigned figures_whole; /* the first so many */
	struct feed *feed;
	int exit_code; /* valid once ended */
	bool timed_out, killed;
	bool out_of_memory; /* its stderr says so */
	bool changes_due;   /* the guest has yet to say what it changed */
	bool changes_lost;  /* and never will */
	struct timespec created, started, ended; /* CLOCK_REALTIME; 0 before */
	uint64_t started_ns;			 /* CLOCK_MONOTONIC */
	uint64_t timeout_ms;			 /* its own limit; 0: that of its sandbox */
	uint64_t gone_ms;			 /* of its time, when it was frozen */
	struct loop_timer deadline;
	struct link watchers; /* told of every byte and every change of state */
};

/** run_new() - a run in RUN_WRITING with one reference, or NULL without memory. */
struct run *run_new(struct sandbox *sandbox, enum agent_language language, uint32_t number,
		    struct feed *feed);

/**
 * run_fork() - the copy of a run for a fork of its sandbox: what it has put out so
 * far, and a stdin of its own that nobody writes to yet. Where somebody does write to
 * the original's, the copy's stays open until its own writers have come and gone.
 * A limit that has passed passes once more, since its signal may be the parent's alone.
 * Return: a run with one reference, or NULL without memory or spool space.
 */
struct run *run_fork(struct run *run, struct sandbox *sandbox);

struct run *run_ref(struct run *run);
void run_unref(struct run *run);

/**
 * run_write() - add code.
 * Return: 0, -EFBIG past AGENT_CODE_MAX, or as stream_append().
 */
int run_write(struct run *run, const void *data, size_t len);

/** run_complete() - the code is whole: settle the language by its first line. */
void run_complete(struct run *run);

/** run_output() - bytes that came from the guest. Return: 0 or -errno. */
int run_output(struct run *run, enum run_stream which, const void *data, size_t len);

/** run_takes_figure() - does run_figure() change anything? */
bool run_takes_figure(const struct run *run, uint32_t number, size_t len);

/**
 * run_figure() - bytes of a figure.
 * @number: from 1 on, one after the other; no bytes, or the next number, ends it. Of more
 * than AGENT_FIGURES, or beyond AGENT_FIGURE_MAX, nothing is kept. Return: 0 or -errno.
 */
int run_figure(struct run *run, uint32_t number, const void *data, size_t len);

/** run_add_figure() - one more, empty. Return: 0 or -ENOMEM. */
int run_add_figure(struct run *run);

/** run_seal() - one that was read from disk: if it has ended, nothing of it will change. */
void run_seal(struct run *run);

/** run_figure_is_whole() - nothing more comes of the figure with that index. */
bool run_figure_is_whole(const struct run *run, unsigned index);

/**
 * run_changes() - the payload of an AGENT_CHANGES frame.
 * Return: 0, -EPROTO when it is malformed, or another -errno.
 */
int run_changes(struct run *run, const void *payload, size_t len);

/** run_lose_changes() - nobody will say what it changed, if nobody has yet. */
void run_lose_changes(struct run *run);

/** run_explain_timeout() - say on its stderr why it was killed, before run_end(), if its
 * time was up. @limit_ms: what counts when it has no limit of its own. */
void run_explain_timeout(struct run *run, uint64_t limit_ms);

/** run_end() - the one end of a run; wakes everybody who waits for it. */
void run_end(struct run *run, int exit_code);

/** run_language() - "python", "bash" or the interpreter of the first line. */
const char *run_language(const struct run *run);

/** run_state_name() - "writing", "queued", "running" or "ended". */
const char *run_state_name(const struct run *run);

/** feed_new() - an empty feed with one reference, or NULL without memory. */
struct feed *feed_new(void);
struct feed *feed_ref(struct feed *feed);
void feed_unref(struct feed *feed);
