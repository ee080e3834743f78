#include "pffs/mcp/mcp_text.h"

#include "util/buf.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* How many bytes the character at @text has; 0: it is none (RFC 3629). */
static size_t character(const unsigned char *text, size_t len)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t size;

	if (*text < 0x80)
		return 1;
	size = *text < 0xc2   ? 0
	       : *text < 0xe0 ? 2
	       : *text < 0xf0 ? 3
	       : *text < 0xf5 ? 4
			      : 0;
	if (!size || size > len)
		return 0;
	if (*text == 0xe0)
		low = 0xa0;
	if (*text == 0xed)
		high = 0x9f;
	if (*text == 0xf0)
		low = 0x90;
	if (*text == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < size; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return size;
}

/* How many bytes from @text on are UTF-8. */
static size_t valid(const char *text, size_t len)
{
	size_t at = 0, size;

	while (at < len) {
		size = character((const unsigned char *)text + at, len - at);
		if (!size)
			break;
		at += size;
	}
	return at;
}

bool text_is_utf8(const char *text, size_t len)
{
	return len == 0 || (valid(text, len) == len && !memchr(text, '\0', len));
}

json_t *text_clean(const char *text, size_t len)
{
	struct buf clean = {0};
	json_t *string;

	while (len) {
		size_t good = valid(text, len);

		if (buf_append(&clean, text, good) < 0 ||
		    (good < len && buf_append(&clean, REPLACEMENT, 3) < 0))
			break;
		if (good == len)
			break;
		text += good + 1;
		len -= good + 1;
	}
	string = clean.len ? json_stringn((const char *)buf_peek(&clean), clean.len)
			   : json_string("");
	buf_fini(&clean);
	return string;
}

json_t *text_path(const json_t *path)
{
	const char *text = json_string_value(path);

	if (!text)
		return NULL;
	return json_sprintf("%s%s", *text == '/' ? "" : "/", text);
}

static bool continues(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

size_t text_newest(const char *text, size_t len, size_t max)
{
	size_t from = len > max ? len - max : 0;

	for (int i = 0; i < 3 && from && from < len && continues(text[from]); i++)
		from++;
	return from;
}

size_t text_oldest(const char *text, size_t len, size_t max)
{
	size_t to = len > max ? max : len;
	int i = 0;

	if (to == len)
		return len;
	while (i < 3 && to > (size_t)i && continues(text[to - (size_t)i]))
		i++;
	return to - (size_t)i;
}
