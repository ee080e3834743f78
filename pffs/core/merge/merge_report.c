#include "pffs/core/merge/merge_report.h"

#include "pffs/core/diff/quote.h"
#include "pffs/core/diff/same.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* One fork removed it, and another one needs it: nothing has changed. */
static bool is_back(const struct change *change)
{
	return S_ISDIR(change->before.mode) &&
	       same_attributes(&change->before, &change->after);
}

static void print_change(FILE *out, const struct change *change)
{
	const char *prefix = "M ";

	if (change->stays || (!change->before.mode && !change->after.mode) ||
	    is_back(change))
		return;
	if (!change->before.mode)
		prefix = "A ";
	else if (!change->after.mode)
		prefix = "D ";
	fputs(prefix, out);
	quote_path(out, "", change->path);
	fputc('\n', out);
}

static void print_conflicts(FILE *out, const struct merge3 *merge)
{
	for (size_t i = 0; i < merge->count; i++) {
		const struct merge3_item *item = &merge->items[i];

		if (item->verdict != MERGE3_CONFLICT)
			continue;
		fputs("C ", out);
		quote_path(out, "", item->path);
		fprintf(out, ": %s\n", item->conflict);
	}
}

static void print_report(FILE *out, const struct merge_report *report)
{
	const char *result = !report->err	? "merged"
			     : report->conflict ? "conflict"
						: "failed";

	fputs("merge files", out);
	for (size_t i = 0; i < report->count; i++)
		fprintf(out, " %s", report->forks[i]->name);
	fprintf(out, "\nresult %s\n", result);
	if (report->err)
		fprintf(out, "error %s\n", report->err->text);
	for (size_t i = 0; report->changes && i < report->changes->count; i++)
		print_change(out, &report->changes->list[i]);
	if (report->merge3)
		print_conflicts(out, report->merge3);
}

char *merge_report(const struct merge_report *report)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	print_report(out, report);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
