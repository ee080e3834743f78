/*
 * What pffs knows of a sandbox that runs, on disk as it comes to know it: it may be killed.
 *
 * Theory of operation
 *
 * A sandbox ID that is not frozen has a file ID.live in the state directory: what is known
 * of it when the file is begun, as for one that is frozen (record_format.h), and then an
 * entry for each thing that changes that: a run that joins the queue, what a guest says of
 * it, and what the guest is told. An entry is written before anybody can see what it tells
 * of: before a reader gets the output, and before a frame goes to the guest. They are
 * written by write(2) and not synced: the kernel keeps them when pffs is killed, and a host
 * that goes down takes the machines with it.
 *
 * Each entry has the place in the guest's stream up to which pffs has dealt with it, and
 * what was told to a guest has its place in the stream to that. vmctl has both counts, too:
 * so the next pffs gets again what came after the last entry, and sends again what never
 * arrived (docs/restart.md). A file is begun anew when most of it is old.
 *
 * Without the lock of a state directory there are no journals.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct terminal;

enum journal_type {
	JOURNAL_FACTS = 1, /* u32 length of JSON, that, merge_report */
	JOURNAL_RUN,	   /* u32 length of JSON, that, code */
	JOURNAL_STARTED,   /* JSON */
	JOURNAL_HEARD,	   /* a frame of the guest */
	JOURNAL_SAID,	   /* u64 where the stream is behind them, frames to the guest */
	JOURNAL_STDIN,	   /* u32 number of the run, bytes */
	JOURNAL_FLAGS,	   /* JSON: of a run */
	JOURNAL_END,	   /* JSON: of a run */
	JOURNAL_ATTACHED, /* u64 where the stream is, frames that were sent again from there
			   */
	JOURNAL_TERMINAL, /* u32 length of JSON, that, command */
	JOURNAL_KEYS,	  /* u32 number of the terminal, bytes */
	JOURNAL_NET_LOG,  /* lines of net/log */
};

#define JOURNAL_AHEAD	  0  /* as the number of a run: stdin of one that is not queued */
#define JOURNAL_HEADER	  24 /* u32 length, u32 type, u64 position, u64 checksum */
#define JOURNAL_ENTRY_MAX (64u << 20)

/** journal_begin() - write what is known of @sb, from now on with all that changes. */
void journal_begin(struct sandbox *sb);

/** journal_attach() - likewise, of one whose channel has just been taken up, and on which
 * wait the frames that are sent again. */
void journal_attach(struct sandbox *sb);

/** journal_drop() - what is known of @sb need not outlive pffs any more. */
void journal_drop(struct sandbox *sb);

/** journal_facts() - name, owner, configuration, state or machine of @sb have changed. */
void journal_facts(struct sandbox *sb);

/** journal_run() - @run has joined the queue. */
void journal_run(struct run *run);

/** journal_started() - @run is about to be sent to the guest. */
void journal_started(struct run *run);

/** journal_flags() - whether @run waits for stdin, timed out or was killed has changed. */
void journal_flags(struct run *run);

/** journal_end() - @run is about to end. */
void journal_end(struct run *run, int exit_code);

/** journal_tidy() - begin anew when most of what is there is old, if it can be done now. */
void journal_tidy(struct sandbox *sb);

/** journal_feed() - whether a stdin is waited for has changed. */
void journal_feed(struct feed *feed);

/** journal_feed_gone() - the run that it waited for will never be. */
void journal_feed_gone(struct feed *feed);

/** journal_stdin() - bytes that were written to a stdin. */
void journal_stdin(struct feed *feed, const void *data, size_t len);

/** journal_terminal() - a terminal is made, was opened, has another size or command, or is
 * removed. */
void journal_terminal(const struct terminal *t);

/** journal_keys() - what was typed. */
void journal_keys(const struct terminal *t, const void *data, size_t len);

/** journal_net_log() - what the log of its network has from place @from on is new. */
void journal_net_log(struct sandbox *sb, uint64_t from);

/** journal_heard() - a frame of the guest, which is to be dealt with. */
void journal_heard(struct sandbox *sb, const struct agent_frame *frame);

/** journal_said() - the frames in the queue of its channel from byte @from on. */
void journal_said(struct sandbox *sb, size_t from);

/** journal_position() - how much of the stream of its guest @sb has dealt with. */
uint64_t journal_position(const struct sandbox *sb);

/** journal_unsure() - have in sb->unsure all that its guest may not have been sent. */
void journal_unsure(struct sandbox *sb);

/** journal_read() - the record of a journal, with its newest facts. Return: new, or NULL
 * with
 * @err filled. */
json_t *journal_read(const char *path, struct error *err);

/** journal_restore() - put into the world what a journal says. Return: NULL with @err
 * filled when it cannot. */
struct sandbox *journal_restore(struct core *core, const json_t *record, const char *path,
				struct error *err);
