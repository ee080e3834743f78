/*
 * The file that a frozen machine is in (docs/freeze.md has its layout).
 *
 * Theory of operation
 *
 * A header of one page, and behind it sections, each a stretch of bytes that begins
 * at a multiple of a page, so that it can be mapped. The header names them, with the
 * checksum of each, and has one of its own. It is written last, when all else is on the
 * disk: a file whose writer did not come to its end has no header.
 *
 * snapshot_open() believes nothing: it reads the whole file once, and what does not
 * match is refused before anything of it is used. After that the file is mapped, and its
 * pages are read when they are needed.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>
#include <stdint.h>
#include <xxhash.h>

#define SNAPSHOT_VERSION 3
#define SNAPSHOT_PAGE	 4096ull

enum snapshot_kind {
	SNAPSHOT_CONFIG = 1, /* JSON: what the machine is made of */
	SNAPSHOT_KVM,	     /* kvm_state_save() */
	SNAPSHOT_DEVICES,    /* machine_save_devices() */
	SNAPSHOT_LOG,	     /* what the guest has said */
	SNAPSHOT_RUNS,	     /* struct snapshot_run: which pages SNAPSHOT_MEMORY has */
	SNAPSHOT_MEMORY,     /* these pages */
	SNAPSHOT_CLUSTERS,   /* struct snapshot_run: likewise of the disk */
	SNAPSHOT_DISK,
	SNAPSHOT_KINDS,
};

/* So many pages, or clusters, from one on. Runs are in order and do not touch. */
struct snapshot_run {
	uint32_t first, count;
};

struct snapshot_section {
	uint64_t offset, len, sum; /* all 0: there is none */
};

/* Called now and then during what may take long. */
typedef void snapshot_progress_fn(void);

struct snapshot {
	int fd;	      /* the owner's */
	uint64_t len; /* of the file */
	uint64_t sum; /* of the header, and so of all */
	struct snapshot_section section[SNAPSHOT_KINDS];
};

struct snapshot_writer {
	struct snapshot snapshot;
	uint64_t at;
	enum snapshot_kind kind; /* being written, or 0 */
	XXH3_state_t *hash;
	snapshot_progress_fn *progress;
	uint64_t told; /* bytes at the last progress */
};

/** snapshot_begin() - write to @fd, an empty file. snapshot_end() is due either way. */
int snapshot_begin(struct snapshot_writer *w, int fd, snapshot_progress_fn *progress,
		   struct error *err);

/** snapshot_put() - add bytes to the section @kind, which begins with its first bytes and
 * ends when another one begins. Return: 0 or -errno with @err filled. */
int snapshot_put(struct snapshot_writer *w, enum snapshot_kind kind, const void *data,
		 size_t len, struct error *err);

/** snapshot_put_json() - a section that is @value, which is consumed. */
int snapshot_put_json(struct snapshot_writer *w, enum snapshot_kind kind, json_t *value,
		      struct error *err);

/** snapshot_commit() - all is written: have it on the disk. Return: as snapshot_put(). */
int snapshot_commit(struct snapshot_writer *w, struct error *err);

/** snapshot_end() - free what the writer holds; the file stays as it is. */
void snapshot_end(struct snapshot_writer *w);

/**
 * snapshot_open() - check a file and use it.
 * @fd: stays the caller's, who keeps it open for as long as the snapshot is used.
 *
 * Return: 0, or -errno with @err filled: -EBADMSG it is not what was written, -ENOTSUP it
 * is of another version.
 */
int snapshot_open(struct snapshot *s, int fd, snapshot_progress_fn *progress,
		  struct error *err);

/** snapshot_peek() - as snapshot_open(), but only the header and SNAPSHOT_CONFIG, which is
 * returned, are checked. Return: new, or NULL with @err filled. */
json_t *snapshot_peek(struct snapshot *s, int fd, struct error *err);

/**
 * snapshot_load() - a section as a whole.
 * @len: set to its length, which is @max at most.
 * Return: bytes to free(), or NULL with @err filled.
 */
void *snapshot_load(const struct snapshot *s, enum snapshot_kind kind, size_t max,
		    size_t *len, struct error *err);

/** snapshot_load_json() - a section that is JSON. Return: new, or NULL with @err filled. */
json_t *snapshot_load_json(const struct snapshot *s, enum snapshot_kind kind,
			   struct error *err);

/**
 * snapshot_load_runs() - a list of runs that tells what another section has.
 * @data:  that section.
 * @unit:  bytes of one page, or cluster.
 * @limit: how many of these there may be.
 * @count: set to the number of runs.
 *
 * Return: runs to free(), in order, inside of @limit and as many as @data has, or NULL with
 * @err filled.
 */
struct snapshot_run *snapshot_load_runs(const struct snapshot *s, enum snapshot_kind kind,
					enum snapshot_kind data, uint64_t unit,
					uint64_t limit, size_t *count, struct error *err);
