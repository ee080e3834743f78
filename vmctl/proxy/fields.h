/*
 * The header fields of a request or an answer, on their way through the proxy.
 *
 * What is about one connection alone (RFC 9110, 7.6.1) ends here: the fields that are known
 * to be, and those that Connection names. Lengths and hosts are set anew by who sends.
 * Values are overwritten before they are freed, since one may be a secret.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define FIELDS_MAX	 256
#define FIELDS_BYTES_MAX (64u << 10)

struct field {
	char *name, *value;
};

struct fields {
	struct field *list;
	size_t count, bytes;
};

/** fields_add() - add one, as it came. Return: 0, -EINVAL when it is malformed, -E2BIG or
 * -ENOMEM. */
int fields_add(struct fields *fields, const char *name, size_t name_len, const char *value,
	       size_t value_len);

/** fields_value() - the first of this name, or NULL. */
const char *fields_value(const struct fields *fields, const char *name);

/** fields_count() - how many have this name. */
size_t fields_count(const struct fields *fields, const char *name);

/** fields_drop() - take out all of this name. */
void fields_drop(struct fields *fields, const char *name);

/** fields_drop_own() - take out what is not passed on. */
void fields_drop_own(struct fields *fields);

/** fields_fini() - free all. */
void fields_fini(struct fields *fields);
