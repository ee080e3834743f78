/*
 * Base64 (RFC 4648, section 4), as JSON has bytes.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

/** base64_json() - a JSON string of bytes; NULL without memory. */
json_t *base64_json(const void *bytes, size_t len);

/**
 * base64_decode() - the bytes of a text.
 * @len: set to how many there are.
 * Return: to free(), or NULL when it is no base64, or there is no memory.
 */
void *base64_decode(const char *text, size_t *len);
