/*
 * A tar, taken apart by libarchive.
 *
 * Theory of operation: libarchive reads by a function that has to wait for bytes, which
 * pffs must not. So it has a thread, and two sockets: into one goes the tar as it comes,
 * out of the other come records, of what is in it. Both are bounded, so that whoever is
 * slower has the other wait. The thread uses nothing else, and ends with its sockets.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"
#include "util/work.h"

#include <stdbool.h>

#define TAR_DATA_MAX   (64u << 10)
#define TAR_RECORD_MAX (TAR_DATA_MAX + 64u)
#define TAR_NAME_MAX   ((size_t)8192) /* bytes of a name; a longer one is an error */
#define TAR_ENOUGH     (1u << 20)
#define TAR_PARSE_MAX  32u /* at once */

enum tar_kind {
	TAR_ENTRY, /* struct tar_entry, its name, NUL, what it links to, NUL */
	TAR_DATA,  /* of the entry before */
	TAR_END,
	TAR_FAILED, /* a sentence, NUL */
};

struct tar_entry {
	uint32_t mode, uid, gid;
	bool hardlink; /* and what it links to is a name in the tar */
	int64_t mtime_ns;
	const char *name, *link;
};

struct tar_record {
	enum tar_kind kind;
	struct tar_entry entry;
	const uint8_t *data;
	size_t len;
};

struct tar_parse;

/**
 * tar_parse_begin() - begin.
 * @came: called, never from within these functions: there are records, or room.
 * Return: NULL with @err filled: -EAGAIN when there are TAR_PARSE_MAX.
 */
struct tar_parse *tar_parse_begin(struct loop *loop, void (*came)(void *ctx), void *ctx,
				  struct error *err);

/** tar_parse_put() - more of the tar. Taken in any case. Return: 0 or -ENOMEM. */
int tar_parse_put(struct tar_parse *tar, const void *data, size_t len);

/** tar_parse_is_full() - wait with more until there is room. */
bool tar_parse_is_full(const struct tar_parse *tar);

/** tar_parse_eof() - that was all. */
void tar_parse_eof(struct tar_parse *tar);

/** tar_parse_peek() - Return: whether there is a record; it is valid until
 * tar_parse_drop(). */
bool tar_parse_peek(struct tar_parse *tar, struct tar_record *record);
void tar_parse_drop(struct tar_parse *tar);

/** tar_parse_end() - nobody wants any more of it. */
void tar_parse_end(struct tar_parse *tar);
