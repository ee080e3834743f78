/*
 * Bytes as text of JSON.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#define TEXT_REPLACEMENT 0xfffd

/** text_json() - a JSON string; what is no UTF-8 becomes U+FFFD. */
json_t *text_json(const char *bytes, size_t len);

/**
 * text_char() - the UTF-8 character at the start of @bytes.
 * @used: set to its bytes; of what is no character, to those that U+FFFD stands for.
 * Return: it; U+FFFD for what is none; -1 when it is not complete, and could be one.
 */
long text_char(const unsigned char *bytes, size_t len, size_t *used);

/**
 * text_unquote() - undo quote_path(), in place.
 * Return: the length, behind which there is a NUL.
 */
size_t text_unquote(char *text);

/** text_escape_path() - for a URL, as what follows a slash: percent-encoded, without the
 * first slash. Return: a string to free(), or NULL. */
char *text_escape_path(const char *path, size_t len);
