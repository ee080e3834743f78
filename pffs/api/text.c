#include "pffs/api/text.h"

#include "util/buf.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What the first byte says: how many follow, and which may come second (Unicode 15, table
 * 3-7). Return: -1 for one that begins nothing. */
static int follow(unsigned char first, unsigned char *low, unsigned char *high)
{
	*low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	*high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	if (first < 0x80)
		return 0;
	if (first >= 0xc2 && first <= 0xdf)
		return 1;
	if (first >= 0xe0 && first <= 0xef)
		return 2;
	return first >= 0xf0 && first <= 0xf4 ? 3 : -1;
}

long text_char(const unsigned char *bytes, size_t len, size_t *used)
{
	unsigned char low, high;
	int more = follow(bytes[0], &low, &high);
	long value = more <= 0 ? bytes[0] : bytes[0] & (0x3f >> more);

	*used = 1;
	if (more < 0)
		return TEXT_REPLACEMENT;
	for (; more; more--, (*used)++) {
		if (*used == len)
			return -1;
		if (bytes[*used] < low || bytes[*used] > high)
			return TEXT_REPLACEMENT;
		value = value << 6 | (bytes[*used] & 0x3f);
		low = 0x80;
		high = 0xbf;
	}
	return value;
}

json_t *text_json(const char *bytes, size_t len)
{
	const unsigned char *at = (const unsigned char *)bytes, *end = at + len;
	struct buf clean = {0};
	json_t *text = json_stringn(bytes, len);
	size_t used;

	if (text)
		return text;
	for (; at < end; at += used) {
		long value = text_char(at, (size_t)(end - at), &used);

		if (value == TEXT_REPLACEMENT || value < 0)
			buf_append(&clean, "\xef\xbf\xbd", 3);
		else
			buf_append(&clean, at, used);
	}
	text = json_stringn((const char *)buf_peek(&clean), clean.len);
	buf_fini(&clean);
	return text;
}

/* Of C's escapes those that quote_path() has. @at: behind the backslash, moved behind it.
 */
static char unescape(const char **at)
{
	static const char codes[] = "abtnvfr";
	const char *code = strchr(codes, **at);
	int value = 0;

	if (**at >= '0' && **at <= '7') {
		for (int i = 0; i < 3 && **at >= '0' && **at <= '7'; i++)
			value = value << 3 | (*(*at)++ - '0');
		return (char)value;
	}
	value = **at && code ? 7 + (int)(code - codes) : **at;
	if (**at)
		(*at)++;
	return (char)value;
}

size_t text_unquote(char *text)
{
	const char *from = text + 1;
	char *to = text;

	if (*text != '"')
		return strlen(text);
	while (*from && *from != '"') {
		if (*from != '\\') {
			*to++ = *from++;
			continue;
		}
		from++;
		*to++ = unescape(&from);
	}
	*to = '\0';
	return (size_t)(to - text);
}

char *text_escape_path(const char *path, size_t len)
{
	char *text = malloc(3 * len + 1), *to = text;

	if (!text)
		return NULL;
	for (size_t i = len && *path == '/'; i < len; i++) {
		unsigned char c = (unsigned char)path[i];

		if (isalnum(c) || strchr("/-._~", c))
			*to++ = (char)c;
		else
			to += sprintf(to, "%%%02X", c);
	}
	*to = '\0';
	return text;
}
