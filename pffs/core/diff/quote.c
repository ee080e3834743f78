#include "pffs/core/diff/quote.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void put_escaped(FILE *out, unsigned char c)
{
	static const char codes[] = "abtnvfr"; /* 7 to 13 */

	if (is_plain(c))
		fputc(c, out);
	else if (c == '"' || c == '\\')
		fprintf(out, "\\%c", c);
	else if (c >= 7 && c <= 13)
		fprintf(out, "\\%c", codes[c - 7]);
	else
		fprintf(out, "\\%03o", c);
}

void quote_path(FILE *out, const char *prefix, const char *path)
{
	const char *at = path;

	while (is_plain((unsigned char)*at))
		at++;
	if (!*at) {
		fprintf(out, "%s%s", prefix, path);
		return;
	}
	fprintf(out, "\"%s", prefix);
	for (at = path; *at; at++)
		put_escaped(out, (unsigned char)*at);
	fputc('"', out);
}

/* The bytes of the UTF-8 sequence that @text begins with, or 0. */
static size_t sequence(const unsigned char *text)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = text[0] < 0x80	  ? 1
		     : text[0] >> 5 == 6  ? 2
		     : text[0] >> 4 == 14 ? 3
		     : text[0] >> 3 == 30 ? 4
					  : 0;
	uint32_t point = text[0] & (0x7fu >> len);

	for (size_t i = 1; i < len; i++) {
		if (text[i] >> 6 != 2)
			return 0;
		point = point << 6 | (text[i] & 0x3f);
	}
	if (len > 1 && (point < least[len] || point > 0x10ffff || point >> 11 == 0x1b))
		return 0;
	return len;
}

void quote_json(FILE *out, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t len;

	fputc('"', out);
	for (; *at; at += len ? len : 1) {
		len = sequence(at);
		if (!len)
			fprintf(out, "\\udc%02x", *at);
		else if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at < 0x20 || *at == 0x7f)
			fprintf(out, "\\u%04x", *at);
		else
			fwrite(at, 1, len, out);
	}
	fputc('"', out);
}
