/*
 * JSON Schemas of tools: a table of fields is what a schema is made from, and what
 * arguments are checked by.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>
#include <stdbool.h>

enum schema_type {
	SCHEMA_END, /* of a table */
	SCHEMA_STRING,
	SCHEMA_INTEGER,
	SCHEMA_NUMBER,
	SCHEMA_BOOLEAN,
	SCHEMA_STRINGS, /* an array of strings */
	SCHEMA_OBJECTS, /* an array of objects */
};

struct schema_field {
	const char *name;
	enum schema_type type;
	bool required, nullable;
	bool positive;			   /* a number: 0 and less are refused */
	json_int_t minimum;		   /* of an integer, or of how many strings */
	json_int_t maximum;		   /* likewise; 0: none */
	const char *values[4];		   /* those that a string may have; none: any */
	const struct schema_field *fields; /* of objects */
	const char *help;
};

/** schema_of() - the schema of an object with @fields, to which nothing may be added. */
json_t *schema_of(const struct schema_field *fields);

/**
 * schema_check() - is @object what @fields say?
 * Return: 0 or -EINVAL, with @err filled for whom has to correct it.
 */
int schema_check(const struct schema_field *fields, const json_t *object,
		 struct error *err);
