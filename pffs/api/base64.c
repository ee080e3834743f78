#include "pffs/api/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			     "0123456789+/=";
#define PADDING 64u /* in digits */

json_t *base64_json(const void *bytes, size_t len)
{
	const uint8_t *from = bytes;
	size_t size = (len + 2) / 3 * 4;
	char *text = malloc(size + 1), *to = text;
	json_t *json;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t group = (uint32_t)from[i] << 16;

		group |= i + 1 < len ? (uint32_t)from[i + 1] << 8 : 0;
		group |= i + 2 < len ? from[i + 2] : 0;
		*to++ = digits[group >> 18];
		*to++ = digits[group >> 12 & 63];
		*to++ = digits[i + 1 < len ? group >> 6 & 63 : PADDING];
		*to++ = digits[i + 2 < len ? group & 63 : PADDING];
	}
	json = json_stringn_nocheck(text, size);
	free(text);
	return json;
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

void *base64_decode(const char *text, size_t *len)
{
	size_t size = strlen(text), used = size;
	uint8_t *bytes = malloc(size / 4 * 3 + 3), *to = bytes;
	uint32_t group = 0;

	while (used && size - used < 2 && text[used - 1] == '=')
		used--;
	for (size_t i = 0; bytes && i < used; i++) {
		int value = size % 4 ? -1 : value_of(text[i]);

		if (value < 0) {
			free(bytes);
			return NULL;
		}
		group = group << 6 | (uint32_t)value;
		if (i % 4)
			*to++ = (uint8_t)(group >> (6 - 2 * (i % 4)));
	}
	*len = (size_t)(to - bytes);
	return bytes;
}
