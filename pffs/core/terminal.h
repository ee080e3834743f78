/*
 * Terminals: shells, or other programs, that a person types to.
 *
 * Theory of operation
 *
 * A terminal has a name, which is a directory in its sandbox's pty/. Its program starts
 * when somebody first opens it, so that its size and its command can be set before, and the
 * guest has it from then on (AGENT_TERMINAL). What is typed waits in `keys` until the guest
 * has room; more than TERMINAL_KEYS_MAX is refused. What the program shows is counted from
 * its start, and the newest TERMINAL_KEPT bytes of it, or a few more, are kept: nobody who
 * looks on can make the program, or pffs, wait.
 *
 * The program is part of the machine: a fork has a copy of the terminal, with what was
 * shown so far; a merge brings those of the winner, and ends one's own; and a machine that
 * is frozen has its terminals in the record.
 *
 * The journal has what is known of a terminal, what was typed and what it showed: with a
 * pffs that is killed, who has it open loses sight of it, and nothing else.
 *
 * One that is removed while nothing may be sent to the guest stays on the list, unseen,
 * until the guest has been told.
 */
#pragma once

#include "pffs/core/sandbox.h"

#define TERMINALS_MAX	  64
#define TERMINAL_KEPT	  (256u << 10)
#define TERMINAL_KEYS_MAX (1u << 20) /* bytes typed that wait; one write may exceed it */

struct terminal {
	struct link link; /* on sandbox->terminals */
	unsigned refs;
	struct sandbox *sandbox; /* NULL once it has been removed, and the guest told */
	char name[SANDBOX_NAME_MAX + 1];
	uint32_t number;   /* within the sandbox; never used twice */
	uint32_t guest_id; /* the agent's: its first number, also after a merge */
	struct agent_size size;
	char *command;		 /* NULL: a login shell */
	struct timespec created; /* CLOCK_REALTIME; in this pffs */
	bool wanted;		 /* somebody has opened it */
	bool started;		 /* the guest has been told to start it */
	bool sized;		 /* and the size */
	bool removed;
	bool ended;
	int exit_code;	      /* once ended */
	struct stream screen; /* all that was shown; of which is kept */
	uint64_t kept;	      /* what is behind this offset */
	struct stream keys;
	uint64_t sent;	      /* how much of them went to the guest */
	uint32_t window;      /* how much more the guest takes now */
	struct link watchers; /* told of every change */
};

/** terminal_new() - Return: it, or NULL with @err filled. */
struct terminal *terminal_new(struct sandbox *sb, const char *name, struct error *err);

/** terminal_add() - an empty one, for who restores it. Return: it, or NULL. */
struct terminal *terminal_add(struct sandbox *sb, const char *name, uint32_t number);

/** terminal_remove() - end what runs in it; who has it open sees its end. */
void terminal_remove(struct terminal *t);

struct terminal *terminal_find(const struct sandbox *sb, const char *name);
struct terminal *terminal_at(const struct sandbox *sb, uint32_t number);

struct terminal *terminal_ref(struct terminal *t);
void terminal_unref(struct terminal *t);

/** terminal_start() - somebody uses it: its program is to run. Return: 0 or -errno. */
int terminal_start(struct terminal *t, struct error *err);

/**
 * terminal_type() - keys for the program; never waits.
 * Return: 0, -EAGAIN when too much waits already, -EIO when it has ended, -ENOMEM,
 * -ENOSPC; @err filled.
 */
int terminal_type(struct terminal *t, const void *data, size_t len, struct error *err);

/** terminal_takes_keys() - terminal_type() would not answer -EAGAIN. */
bool terminal_takes_keys(const struct terminal *t);

void terminal_set_size(struct terminal *t, struct agent_size size);

/** terminal_set_command() - Return: 0, -EBUSY when it has started, -EINVAL, -ENOMEM. */
int terminal_set_command(struct terminal *t, const char *command, struct error *err);

/** terminals_resume() - something may be sent to the guest again. */
void terminals_resume(struct sandbox *sb);

/** terminals_frame() - a frame of a terminal's. Return: 0, or -EPROTO with @err filled. */
int terminals_frame(struct sandbox *sb, const struct agent_frame *frame, struct error *err);

/** terminals_fork() - @child has got a copy of the machine of @parent. One of the same name
 * that it has already, and that has not begun, stays. Return: 0 or -errno. */
int terminals_fork(struct sandbox *child, const struct sandbox *parent);

/** terminals_move() - @sb has got the machine of @from; its own terminals go. */
void terminals_move(struct sandbox *sb, struct sandbox *from);

/** terminals_watched() - somebody has one open that has not ended. */
bool terminals_watched(const struct sandbox *sb);

/** terminals_end() - the machine has gone. */
void terminals_end(struct sandbox *sb);

/** terminals_drop() - likewise, and they go too. */
void terminals_drop(struct sandbox *sb);

/** terminals_said() - of one that is restored: what the former pffs told the guest. */
void terminals_said(struct sandbox *sb, const struct agent_frame *frame);

/** terminal_restore() - what a journal says of the terminal with that number: name, size,
 * command, wanted, removed. Return: 0 or -errno. */
int terminal_restore(struct sandbox *sb, const struct terminal *facts);
