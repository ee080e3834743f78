/*
 * Runs and their changes: the file server looks at the files before a run starts and
 * after it has ended, one at a time.
 */
#pragma once

#include "util/buf.h"
#include "wire/agent.h"

#include <stdbool.h>
#include <stdint.h>

struct files;
struct run;

struct changes_queue {
	struct buf steps; /* those that the server has not answered, in order */
	bool asked;	  /* it has the first of them */
};

/**
 * changes_before() - @run is about to start.
 * Return: whether it has to wait; run_launch() is called then.
 */
bool changes_before(struct files *files, struct run *run);

/** changes_after() - a run's exit has been sent; what it changed follows. */
void changes_after(struct files *files, const struct run *run, bool quiet);

/** changes_frame() - the server's answer. Return: false when @frame is none. */
bool changes_frame(struct files *files, const struct agent_frame *frame);

/** changes_lost() - the server has died: nobody knows. */
void changes_lost(struct files *files);
