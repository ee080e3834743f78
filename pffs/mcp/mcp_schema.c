#include "pffs/mcp/mcp_schema.h"

#include <errno.h>
#include <string.h>

static const char *const type_names[] = {
    [SCHEMA_STRING] = "string",	  [SCHEMA_INTEGER] = "integer", [SCHEMA_NUMBER] = "number",
    [SCHEMA_BOOLEAN] = "boolean", [SCHEMA_STRINGS] = "array",	[SCHEMA_OBJECTS] = "array",
};

/* In words, for whoever gave something else. */
static const char *const type_words[] = {
    [SCHEMA_STRING] = "a string",
    [SCHEMA_INTEGER] = "an integer",
    [SCHEMA_NUMBER] = "a number",
    [SCHEMA_BOOLEAN] = "true or false",
    [SCHEMA_STRINGS] = "an array of strings",
    [SCHEMA_OBJECTS] = "an array of objects",
};

static bool is_array(const struct schema_field *field)
{
	return field->type == SCHEMA_STRINGS || field->type == SCHEMA_OBJECTS;
}

static void add_limits(json_t *schema, const struct schema_field *field)
{
	const char *minimum = is_array(field) ? "minItems" : "minimum";
	const char *maximum = is_array(field) ? "maxItems" : "maximum";

	if (field->positive)
		json_object_set_new(schema, "exclusiveMinimum", json_integer(0));
	if (field->type == SCHEMA_INTEGER || field->minimum)
		json_object_set_new(schema, minimum, json_integer(field->minimum));
	if (field->maximum)
		json_object_set_new(schema, maximum, json_integer(field->maximum));
}

static json_t *type_of(const struct schema_field *field)
{
	const char *name = type_names[field->type];

	return field->nullable ? json_pack("[s, s]", name, "null") : json_string(name);
}

/* NOLINTNEXTLINE(misc-no-recursion): it is as deep as the tables are */
static json_t *field_schema(const struct schema_field *field)
{
	json_t *schema = json_object();

	json_object_set_new(schema, "type", type_of(field));
	if (field->help)
		json_object_set_new(schema, "description", json_string(field->help));
	if (field->type == SCHEMA_STRINGS)
		json_object_set_new(schema, "items", json_pack("{s:s}", "type", "string"));
	if (field->type == SCHEMA_OBJECTS)
		json_object_set_new(schema, "items", schema_of(field->fields));
	if (field->values[0]) {
		json_t *values = json_array();

		for (size_t i = 0; i < 4 && field->values[i]; i++)
			json_array_append_new(values, json_string(field->values[i]));
		json_object_set_new(schema, "enum", values);
	}
	if (field->type != SCHEMA_STRING && field->type != SCHEMA_BOOLEAN)
		add_limits(schema, field);
	return schema;
}

/* NOLINTNEXTLINE(misc-no-recursion): likewise */
json_t *schema_of(const struct schema_field *fields)
{
	json_t *properties = json_object(), *required = json_array();
	json_t *schema = json_pack("{s:s, s:o, s:b}", "type", "object", "properties",
				   properties, "additionalProperties", 0);

	for (; fields->type != SCHEMA_END; fields++) {
		json_object_set_new(properties, fields->name, field_schema(fields));
		if (fields->required)
			json_array_append_new(required, json_string(fields->name));
	}
	if (json_array_size(required))
		json_object_set(schema, "required", required);
	json_decref(required);
	return schema;
}

static bool are_strings(const json_t *array)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		if (!json_is_string(json_array_get(array, i)))
			return false;
	return true;
}

static bool has_type(const struct schema_field *field, const json_t *value)
{
	switch (field->type) {
	case SCHEMA_STRING:
		return json_is_string(value);
	case SCHEMA_INTEGER:
		return json_is_integer(value);
	case SCHEMA_NUMBER:
		return json_is_number(value);
	case SCHEMA_BOOLEAN:
		return json_is_boolean(value);
	case SCHEMA_STRINGS:
		return json_is_array(value) && are_strings(value);
	default:
		return json_is_array(value);
	}
}

static int check_limits(const struct schema_field *field, const json_t *value,
			struct error *err)
{
	bool many = is_array(field);
	json_int_t is =
	    many ? (json_int_t)json_array_size(value) : json_integer_value(value);

	if (field->positive && json_number_value(value) <= 0)
		return error_say(err, EINVAL, "the argument %s has to be above 0",
				 field->name);
	if (field->type != SCHEMA_INTEGER && !many)
		return 0;
	if (is < field->minimum)
		return error_say(err, EINVAL, "the argument %s has to be at least %lld%s",
				 field->name, (long long)field->minimum,
				 many ? " strings" : "");
	if (field->maximum && is > field->maximum)
		return error_say(err, EINVAL, "the argument %s has to be at most %lld%s",
				 field->name, (long long)field->maximum,
				 many ? " strings" : "");
	return 0;
}

static int check_value(const struct schema_field *field, const json_t *value,
		       struct error *err)
{
	const char *const *values = field->values;
	char known[200] = "";

	if (!has_type(field, value))
		return error_say(err, EINVAL, "the argument %s has to be %s", field->name,
				 type_words[field->type]);
	if (!values[0])
		return check_limits(field, value, err);
	for (size_t i = 0; i < 4 && values[i]; i++) {
		if (strcmp(json_string_value(value), values[i]) == 0)
			return 0;
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			 i ? ", " : "", values[i]);
	}
	return error_say(err, EINVAL, "the argument %s has to be one of: %s", field->name,
			 known);
}

static int check_unknown(const struct schema_field *fields, const char *name,
			 struct error *err)
{
	char known[200] = "";

	for (const struct schema_field *field = fields; field->type != SCHEMA_END;
	     field++) {
		if (strcmp(field->name, name) == 0)
			return 0;
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			 field == fields ? "" : ", ", field->name);
	}
	return error_say(err, EINVAL, "there is no argument %.40s; there are: %s", name,
			 *known ? known : "none");
}

int schema_check(const struct schema_field *fields, const json_t *object, struct error *err)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value)
	{
		int rc = check_unknown(fields, name, err);

		if (rc < 0)
			return rc;
	}
	for (; fields->type != SCHEMA_END; fields++) {
		int rc = 0;

		value = json_object_get(object, fields->name);
		if (value && !(json_is_null(value) && !fields->required))
			rc = check_value(fields, value, err);
		else if (fields->required)
			rc = error_say(err, EINVAL, "the argument %s is missing",
				       fields->name);
		if (rc < 0)
			return rc;
	}
	return 0;
}
