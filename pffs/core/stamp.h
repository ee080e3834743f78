/*
 * Times as text: RFC 3339, UTC, milliseconds.
 */
#pragma once

#include <time.h>

#define STAMP_MAX 40 /* with the NUL */

/** stamp_format() - write @at as 2026-01-31T12:00:00.000Z. Return: @text. */
const char *stamp_format(const struct timespec *at, char text[STAMP_MAX]);
