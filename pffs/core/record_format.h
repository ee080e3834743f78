/*
 * A sandbox as the two files of a record: see record.h. record.c knows where they are.
 */
#pragma once

#include "pffs/core/sandbox.h"

/** record_save() - write ID.data and ID.json of @sb as files that are on the disk when this
 * returns. Return: 0 or -errno with @err filled. */
int record_save(const struct sandbox *sb, const char *data, const char *json,
		struct error *err);

/** record_read() - check an ID.json. Return: new, or NULL with @err filled. */
json_t *record_read(const char *path, struct error *err);

/** record_restore() - put into the world what a record says, with the bytes in the file
 * @data. Return: the sandbox, or NULL with @err filled. */
struct sandbox *record_restore(struct core *core, const json_t *record, const char *data,
			       struct error *err);
