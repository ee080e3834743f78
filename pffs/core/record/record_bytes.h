/*
 * Inside of the format of records (record_format.h): what those who write and who read it
 * share.
 */
#pragma once

#include "pffs/core/record/record_format.h"

#include <xxhash.h>

#define RECORD_VERSION	 2
#define RECORD_HEAD	 "pffs sandbox "
#define RECORD_HEAD_LEN	 32
#define RECORD_JSON_MAX	 (64u << 20)
#define RECORD_LIVE_HEAD "pffs live "
#define RECORD_LIVE_LEN	 63 /* of its first line */

/* The bytes of a record, on their way to ID.data or from it. */
struct bytes {
	int fd;
	uint64_t start, at;
	XXH3_state_t *hash;
	int error; /* the first that there was, negative; nothing happens after it */
};

/** bytes_init() - open @path, of which the bytes begin at @start. Return: 0 or -errno with
 * @err filled. */
int bytes_init(struct bytes *b, const char *path, int flags, uint64_t start,
	       struct error *err);

void bytes_fini(struct bytes *b);
