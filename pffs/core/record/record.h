/*
 * What pffs knows of a frozen sandbox, in the state directory.
 *
 * Theory of operation
 *
 * A sandbox ID has two files: ID.data, the bytes of its runs one after the other, and
 * ID.json, which says what they are, and all the rest. The latter begins with a line that
 * has its own checksum, and has that of the former. They are written by a process that is
 * forked for that, under other names, and synced; ID.json gets its name last. Its machine
 * is in vmctl's state directory, under the same ID.
 *
 * One pffs at a time has the directory, by a lock.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct record_writer {
	struct sandbox *sb;
	struct loop_source
	    source; /* the end of a pipe on which the process says how it was */
	int pid;
	void (*done)(struct record_writer *writer, const struct error *err);
};

#define RECORD_LIVE ".live" /* a journal: see journal.h */

/** record_path() - the file of a sandbox. Return: a string to free(), or NULL. */
char *record_path(const struct core *core, const char *id, const char *suffix);

/** record_unlink() - remove the file of a sandbox, if there is one. */
void record_unlink(const struct core *core, const char *id, const char *suffix);

/** record_open() - use the core's state directory, if it has one. Never fails: the core
 * keeps the error, and record_check() says it. */
void record_open(struct core *core);
void record_close(struct core *core);

/** record_check() - sandboxes can be kept. Return: 0 or -errno with @err filled. */
int record_check(const struct core *core, struct error *err);

/** record_has() - there is a record of the sandbox @id on the disk, or a journal, whether
 * they can be read or not. Also when that cannot be found out. */
bool record_has(const struct core *core, const char *id);

/** record_load() - have the sandboxes in the world that are in the state directory. */
void record_load(struct core *core);

void record_writer_init(struct record_writer *writer);

/**
 * record_write() - write what is known of @sb, which is SANDBOX_STORED.
 * @done: called once, later, with NULL or what went wrong; nothing is left then.
 * Return: 0, or -errno with @err filled; no @done then.
 */
int record_write(struct record_writer *writer, struct sandbox *sb,
		 void (*done)(struct record_writer *writer, const struct error *err),
		 struct error *err);

/** record_renew() - name, owner or configuration of @sb, which is frozen, have changed. */
void record_renew(struct sandbox *sb);

/** record_stop() - nobody waits any more. */
void record_stop(struct record_writer *writer);

/** record_drop() - a sandbox is frozen no more: forget it, and its machine's file. */
void record_drop(struct core *core, const char *id);
