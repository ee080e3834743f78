/*
 * What is in the JSON of records and journals. A key that is missing is 0, false or "".
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t record_number(const json_t *record, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(record, key));
}

static inline bool record_flag(const json_t *record, const char *key)
{
	return json_is_true(json_object_get(record, key));
}

static inline const char *record_text(const json_t *record, const char *key)
{
	const char *text = json_string_value(json_object_get(record, key));

	return text ? text : "";
}

static inline struct timespec record_time(const json_t *record, const char *key)
{
	const json_t *pair = json_object_get(record, key);

	return (struct timespec){
	    .tv_sec = (time_t)json_integer_value(json_array_get(pair, 0)),
	    .tv_nsec = (long)json_integer_value(json_array_get(pair, 1)),
	};
}
