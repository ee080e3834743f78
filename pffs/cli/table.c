#include "pffs/cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void table_add(struct table *t, const char *fmt, ...)
{
	va_list args;
	char **cells = t->cells, *cell = NULL;
	int n;

	if (t->count == t->room) {
		cells = reallocarray(cells, t->room ? 2 * t->room : 64, sizeof(*cells));
		if (!cells) {
			t->failed = true;
			return;
		}
		t->cells = cells;
		t->room = t->room ? 2 * t->room : 64;
	}
	va_start(args, fmt);
	n = vasprintf(&cell, fmt, args);
	va_end(args);
	if (n < 0)
		t->failed = true;
	else
		t->cells[t->count++] = cell;
}

/* Columns on the screen; each character of ours takes one. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void print_cell(const char *text, int width, bool right, bool last, FILE *out)
{
	int gap = width - width_of(text);

	if (right)
		fprintf(out, "%*s%s%s", gap, "", text, last ? "" : "  ");
	else
		fprintf(out, "%s%*s", text, last ? 0 : gap + 2, "");
}

void table_print(const struct table *t, FILE *out)
{
	int widths[TABLE_COLUMNS] = {0};
	size_t columns = 0;

	while (columns < TABLE_COLUMNS && t->titles[columns]) {
		widths[columns] = width_of(t->titles[columns]);
		columns++;
	}
	if (!columns)
		return;
	for (size_t i = 0; i < t->count; i++)
		if (width_of(t->cells[i]) > widths[i % columns])
			widths[i % columns] = width_of(t->cells[i]);
	for (size_t i = 0; i < columns + t->count; i++) {
		size_t at = i % columns;
		bool last = at + 1 == columns;

		print_cell(i < columns ? t->titles[i] : t->cells[i - columns], widths[at],
			   t->right[at], last, out);
		if (last)
			fputc('\n', out);
	}
}

void table_fini(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->count = t->room = 0;
}

const char *table_age(const char *created, char buf[32])
{
	static const struct {
		long seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	struct tm tm = {0};
	long age;

	if (!created || !strptime(created, "%Y-%m-%dT%H:%M:%S", &tm))
		return "-";
	age = (long)(time(NULL) - timegm(&tm));
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (age >= 2 * units[i].seconds || units[i].seconds == 1) {
			snprintf(buf, 32, "%ld%c", (age > 0 ? age : 0) / units[i].seconds,
				 units[i].unit);
			break;
		}
	return buf;
}

const char *table_size(double bytes, char buf[32])
{
	static const char units[] = "KMGT";
	const char *unit = units;

	bytes /= 1024;
	for (; bytes >= 1000 && unit[1]; unit++)
		bytes /= 1024;
	snprintf(buf, 32, bytes < 10 ? "%.1f%c" : "%.0f%c", bytes, *unit);
	return buf;
}
