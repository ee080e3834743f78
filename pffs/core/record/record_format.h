/*
 * A sandbox as the two files of a record: see record.h. record.c knows where they are.
 */
#pragma once

#include "pffs/core/sandbox.h"

/* Places, in a record, of who is in no folder that is seen. */
#define RECORD_TWIN	"twin"
#define RECORD_TEMPLATE "template"

/** record_save() - write ID.data and ID.json of @sb as files that are on the disk when this
 * returns. Return: 0 or -errno with @err filled. */
int record_save(const struct sandbox *sb, const char *data, const char *json,
		struct error *err);

/** record_write_json() - write an ID.json. @record is stolen. Return: 0 or -errno with @err
 * filled. */
int record_write_json(json_t *record, const char *path, struct error *err);

/** record_read() - check an ID.json. Return: new, or NULL with @err filled. */
json_t *record_read(const char *path, struct error *err);

/** record_restore() - put into the world what a record says, with the bytes in the file
 * @data. Return: the sandbox, or NULL with @err filled. */
struct sandbox *record_restore(struct core *core, const json_t *record, const char *data,
			       struct error *err);

/** record_facts() - all of @sb that is neither runs nor bytes. Return: new. */
json_t *record_facts(const struct sandbox *sb);

/**
 * record_begin() - write a file that has all that is known of @sb, as the beginning of a
 * journal (journal.h). Nothing is synced.
 * Return: a descriptor at its end, or -errno with @err filled.
 */
int record_begin(const struct sandbox *sb, const char *path, struct error *err);

/** record_read_live() - the record of such a file. @end: set to its length, without what
 * was appended. Return: new, or NULL with @err filled. */
json_t *record_read_live(const char *path, uint64_t *end, struct error *err);

/** record_restore_live() - as record_restore(), of such a file. */
struct sandbox *record_restore_live(struct core *core, const json_t *record,
				    const char *path, struct error *err);
