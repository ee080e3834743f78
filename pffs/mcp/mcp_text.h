/*
 * Text from a guest, for a message: whatever it is, UTF-8 of a bounded length comes of it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/** text_is_utf8() - and has no NUL, which says that it is no text. */
bool text_is_utf8(const char *text, size_t len);

/** text_clean() - a JSON string: each byte that is no UTF-8 becomes U+FFFD. */
json_t *text_clean(const char *text, size_t len);

/** text_path() - @path, a JSON string, with the `/` that it may lack; NULL: it is none. */
json_t *text_path(const json_t *path);

/** text_newest() - where the newest @max bytes of @text begin, at a whole character. */
size_t text_newest(const char *text, size_t len, size_t max);

/** text_oldest() - how many of the first @max bytes are whole characters. */
size_t text_oldest(const char *text, size_t len, size_t max);
