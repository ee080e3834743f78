/*
 * Columns for a person.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS 12

struct table {
	const char *titles[TABLE_COLUMNS]; /* the last is followed by NULL */
	bool right[TABLE_COLUMNS];	   /* for numbers */
	char **cells;
	size_t count, room;
	bool failed; /* there was no memory */
};

/** table_add() - the next cell, row by row; as for printf(). */
__attribute__((format(printf, 2, 3))) void table_add(struct table *table, const char *fmt,
						     ...);

/** table_print() - titles and rows. */
void table_print(const struct table *table, FILE *out);

/** table_fini() - free the cells. */
void table_fini(struct table *table);

/** table_age() - how long ago an RFC 3339 time in UTC was, such as 5m. */
const char *table_age(const char *created, char buf[32]);

/** table_size() - bytes as a person reads them, such as 41.5M. */
const char *table_size(double bytes, char buf[32]);
