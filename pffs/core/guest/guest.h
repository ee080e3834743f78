/*
 * The conversation with a sandbox's agent: runs are sent, their output and end
 * come back, stdin is fed, signals go out.
 */
#pragma once

#include "pffs/core/sandbox.h"

/** guest_data() - bytes from the agent's port; the guest is hostile. */
void guest_data(struct channel *channel, const uint8_t *data, size_t len);

/** guest_hear_again() - a frame that was heard by a former pffs, when it is restored. */
void guest_hear_again(struct sandbox *sb, const struct agent_frame *frame);

/** guest_wake() - tell the machine who it is, now that it was forked. */
void guest_wake(struct sandbox *sb);

/** guest_wake_as() - tell the machine of @sb that it is @who from now on. */
void guest_wake_as(struct sandbox *sb, const struct sandbox *who);

/** guest_wake_frozen() - tell a fork point to stop all but its agent, and stay who it is.
 */
void guest_wake_frozen(struct sandbox *sb);

/** guest_moved() - @sb has got a machine that may be in the middle of a run. */
void guest_moved(struct sandbox *sb);

/** guest_go_on() - the machine is ready: what waited for it goes on. */
void guest_go_on(struct sandbox *sb);

/** guest_give_up() - the machine does not come back: runs that wait for it end. */
void guest_give_up(struct sandbox *sb);

/** guest_next() - start the next run of the queue when the machine is free. */
void guest_next(struct sandbox *sb);

/** guest_resume() - go on with what waited: stdin, or the next run. */
void guest_resume(struct sandbox *sb);

/**
 * guest_ctl() - a verb of the `ctl` file: interrupt, kill, reset, freeze or resume.
 * Return: 0, -EINVAL for an unknown verb, -EBUSY while the machine starts,
 * -ESRCH without a run, -EIO for a dead sandbox; @err filled.
 */
int guest_ctl(struct sandbox *sb, const char *verb, struct error *err);

/** guest_set_timeout() - change the limit, also of the run that goes on now. */
void guest_set_timeout(struct sandbox *sb, uint64_t timeout_ms);

/** guest_stdin_next() - the stdin of the run that comes next. Return: it, or NULL without
 * memory. */
struct feed *guest_stdin_next(struct sandbox *sb);

/** guest_stdin_settled() - the run whose stdin @feed is has been queued, or never will be.
 */
void guest_stdin_settled(struct feed *feed);

/**
 * guest_stdin_open() - one more writer for stdin: of the run going on, else of
 * the newest run that has not ended, else of the next run to come.
 * Return: a feed; give it back by guest_stdin_close(). NULL without memory.
 */
struct feed *guest_stdin_open(struct sandbox *sb);

/** guest_stdin_of() - one more writer for stdin of @run. Return: as guest_stdin_open(). */
struct feed *guest_stdin_of(struct run *run);

/**
 * guest_stdin_write() - bytes for the program; never waits.
 * Return: 0, -EPIPE when the run has ended or its stdin was closed, -ENOSPC,
 * -ENOMEM; @err filled.
 */
int guest_stdin_write(struct feed *feed, const void *data, size_t len, struct error *err);

void guest_stdin_close(struct feed *feed);
