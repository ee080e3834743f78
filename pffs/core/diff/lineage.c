#include "pffs/core/diff/lineage.h"

#include <stdlib.h>

struct lineage {
	unsigned refs;
	struct lineage *parent; /* reference, or NULL */
	int64_t moment;
};

struct lineage *lineage_new(struct lineage *parent, int64_t moment)
{
	struct lineage *line = malloc(sizeof(*line));

	if (line)
		*line = (struct lineage){1, parent ? lineage_ref(parent) : NULL, moment};
	return line;
}

struct lineage *lineage_ref(struct lineage *line)
{
	line->refs++;
	return line;
}

void lineage_unref(struct lineage *line)
{
	while (line && --line->refs == 0) {
		struct lineage *parent = line->parent;

		free(line);
		line = parent;
	}
}

/* The moment at which the way to @b leaves that line, INT64_MAX for @b's own; or -1. */
static int64_t left(const struct lineage *line, const struct lineage *b)
{
	int64_t moment = INT64_MAX;

	for (; b; b = b->parent) {
		if (b == line)
			return moment;
		moment = b->moment;
	}
	return -1;
}

int64_t lineage_parted(const struct lineage *a, const struct lineage *b)
{
	int64_t moment = INT64_MAX;

	for (const struct lineage *line = a; line; line = line->parent) {
		int64_t other = left(line, b);

		if (other >= 0)
			return moment < other ? moment : other;
		moment = line->moment;
	}
	return 0;
}
