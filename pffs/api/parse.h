/*
 * JSON of requests, beside the event loop when it is long.
 */
#pragma once

#include "util/buf.h"
#include "util/loop.h"

#include <jansson.h>

#define PARSE_AT_ONCE (128u << 10) /* bytes: that takes less than 20 ms */

struct parse;

/** parse_fn - @json is the caller's now; NULL: @why it is none. */
typedef void parse_fn(void *ctx, json_t *json, const json_error_t *why);

/**
 * parse_begin() - parse @text, which is taken over.
 * @done: called once, later or before this returns, unless parse_cancel() comes first.
 *
 * Return: what parse_cancel() takes; NULL: @done has been called.
 */
struct parse *parse_begin(struct loop *loop, struct buf *text, parse_fn *done, void *ctx);

/** parse_cancel() - @done is not to be called any more; no-op for NULL. */
void parse_cancel(struct parse *parse);
