#include "vmctl/proxy/fields.h"

#include "util/buf.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of one connection, or said anew. Alt-Svc leads past this proxy. */
static const char *const own[] = {
    "Connection",
    "Proxy-Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Proxy-Authorization",
    "Upgrade",
    "HTTP2-Settings",
    "Content-Length",
    "Alt-Svc",
    "Expect",
    "Host",
};

/* RFC 9110, 5.6.2. To some a space before the colon is no part of a name; libmicrohttpd
 * and libcurl pass it on, and to them it is another one. */
static bool is_name(const char *name, size_t len)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) &&
		    !memchr(others, name[i], sizeof(others) - 1))
			return false;
	return len;
}

/* RFC 9110, 5.5: what could end the field is not in it. */
static bool is_value(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)value[i]) && value[i] != '\t')
			return false;
	return true;
}

int fields_add(struct fields *fields, const char *name, size_t name_len, const char *value,
	       size_t value_len)
{
	size_t bytes = name_len + value_len + 4; /* as they are sent */
	struct field *list, field;

	if (!is_name(name, name_len) || !is_value(value, value_len))
		return -EINVAL;
	if (fields->count == FIELDS_MAX || bytes > FIELDS_BYTES_MAX - fields->bytes)
		return -E2BIG;
	list = reallocarray(fields->list, fields->count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	fields->list = list;
	field.name = strndup(name, name_len);
	field.value = strndup(value, value_len);
	if (!field.name || !field.value) {
		free(field.name);
		free(field.value);
		return -ENOMEM;
	}
	list[fields->count++] = field;
	fields->bytes += bytes;
	return 0;
}

const char *fields_value(const struct fields *fields, const char *name)
{
	for (size_t i = 0; i < fields->count; i++)
		if (strcasecmp(fields->list[i].name, name) == 0)
			return fields->list[i].value;
	return NULL;
}

size_t fields_count(const struct fields *fields, const char *name)
{
	size_t count = 0;

	for (size_t i = 0; i < fields->count; i++)
		count += strcasecmp(fields->list[i].name, name) == 0;
	return count;
}

static void drop(struct field *field)
{
	explicit_bzero(field->value, strlen(field->value));
	free(field->name);
	free(field->value);
}

void fields_drop(struct fields *fields, const char *name)
{
	size_t left = 0;

	for (size_t i = 0; i < fields->count; i++)
		if (strcasecmp(fields->list[i].name, name) == 0)
			drop(&fields->list[i]);
		else
			fields->list[left++] = fields->list[i];
	fields->count = left;
}

/* Those that a Connection names: tokens with commas between. */
static void drop_named(struct fields *fields, char *names)
{
	char *rest = NULL;

	for (char *name = strtok_r(names, ", \t", &rest); name;
	     name = strtok_r(NULL, ", \t", &rest))
		fields_drop(fields, name);
}

void fields_drop_own(struct fields *fields)
{
	struct buf names = {0};

	for (size_t i = 0; i < fields->count; i++) {
		const struct field *field = &fields->list[i];

		if (strcasecmp(field->name, "Connection") != 0)
			continue;
		buf_append(&names, field->value, strlen(field->value));
		buf_append(&names, ",", 1);
	}
	if (buf_append(&names, "", 1) == 0)
		drop_named(fields, (char *)names.data + names.head);
	buf_fini(&names);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		fields_drop(fields, own[i]);
}

void fields_fini(struct fields *fields)
{
	for (size_t i = 0; i < fields->count; i++)
		drop(&fields->list[i]);
	free(fields->list);
	*fields = (struct fields){0};
}
