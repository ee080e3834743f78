/*
 * One output stream: the pipe from a run's stdout or stderr to the port, or what a terminal
 * shows.
 */
#pragma once

#include "guest/agent/port.h"
#include "util/loop.h"

#include <stdbool.h>

struct output {
	struct port *port;
	struct loop_source source;
	int fd; /* -1: the stream has ended, or never began */
	uint32_t stream;
	enum agent_type type; /* AGENT_STDOUT or AGENT_STDERR */
	enum { OUTPUT_LIVE, OUTPUT_LAST, OUTPUT_DISCARDED, OUTPUT_DRAINED } state;
	size_t left; /* OUTPUT_LAST: bytes of the run still to be sent */
	void (*on_change)(struct output *output);
	bool paced; /* a terminal's: see output_pace() */
	struct loop_timer pause;
};

/**
 * output_init() - an output without a pipe.
 * @on_change: called when the last byte was sent, and when the stream ended.
 */
void output_init(struct output *output, struct port *port, uint32_t stream,
		 enum agent_type type, void (*on_change)(struct output *output));

/**
 * output_pace() - what comes in many small writes goes on in few frames: after one, the
 * next waits for a few milliseconds. Before output_open().
 */
void output_pace(struct output *output);

/** output_open() - relay what comes from @fd, which is taken over. Return: 0 or -errno. */
int output_open(struct output *output, int fd);

/**
 * output_finish() - the program has ended: send what is in the pipe now.
 * What comes later, from processes that it left behind, is read and dropped.
 */
void output_finish(struct output *output);

/**
 * output_drain() - the program of a terminal has ended: send all until there is no more.
 * What comes later is read and dropped.
 */
void output_drain(struct output *output);

/** output_is_sent() - true when nothing of the run itself is left to send. */
bool output_is_sent(const struct output *output);

/** output_resume() - go on after port_has_room() had refused. */
void output_resume(struct output *output);

/** output_close() - give the pipe up; no-op without one. */
void output_close(struct output *output);
