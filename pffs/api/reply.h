/*
 * Answers. Each request gets exactly one, by one of these, at any time.
 */
#pragma once

#include "pffs/api/request.h"

#include <stdint.h>

#define REPLY_OPEN UINT64_MAX /* a stream whose length nobody knows */

/** reply_json() - @body is stolen. */
void reply_json(struct request *r, unsigned status, json_t *body);

/** reply_error() - the sentence, and the status of its code. */
void reply_error(struct request *r, const struct error *err);

/** reply_say() - likewise, of an errno and a sentence. */
__attribute__((format(printf, 3, 4))) void reply_say(struct request *r, int errnum,
						     const char *fmt, ...);

/** reply_empty() - a status alone, such as 204. */
void reply_empty(struct request *r, unsigned status);

/** reply_bytes() - @data is from malloc(), and stolen; NULL: there was no memory. */
void reply_bytes(struct request *r, unsigned status, const char *media_type, void *data,
		 size_t len);

/** reply_text() - a copy of @text, as text/plain. */
void reply_text(struct request *r, unsigned status, const char *text);

/**
 * reply_stream() - bytes as they come.
 * @size: how many there will be, or REPLY_OPEN.
 * @read: called when there is room. Return: how many bytes it has written to @to; 0: that
 *	  was all; -EAGAIN: nothing now, and nobody calls again until request_wake();
 *another -errno: the connection is broken off.
 */
void reply_stream(struct request *r, unsigned status, const char *media_type, uint64_t size,
		  ssize_t (*read)(struct request *r, char *to, size_t len));

/** reply_header() - a header of the answer to come. */
void reply_header(struct request *r, const char *name, const char *value);

/** reply_status() - the HTTP status of a negative errno. */
unsigned reply_status(int code);

/** reply_queue() - for request.c: hand the answer to libmicrohttpd. */
enum MHD_Result reply_queue(struct request *r);
