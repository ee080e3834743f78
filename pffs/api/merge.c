/*
 * Merges of files: what forks have changed comes to their parent.
 */
#include "pffs/core/merge/merge_files.h"

#include "pffs/api/reply.h"
#include "pffs/api/text.h"
#include "pffs/core/merge/rouse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct merge_call {
	struct request *r;
	enum merge3_favour favour;
	size_t count;
	char **names; /* of forks */
	struct rouse rouse;
	bool begun, done;
	struct merge_files *merge;
};

static void call_free(struct merge_call *call)
{
	for (size_t i = 0; i < call->count; i++)
		free(call->names[i]);
	free(call->names);
	free(call);
}

/* A merge that was begun goes on; it is let go of when it has come to its end. */
static void call_end(struct request *r)
{
	struct merge_call *call = r->state;

	call->r = NULL;
	if (!call->begun)
		rouse_cancel(&call->rouse);
	if (!call->begun || call->done)
		call_free(call);
}

static void answer(struct request *r, const struct error *err)
{
	const char *report = r->sb->merge_report ? r->sb->merge_report : "";
	json_t *text = text_json(report, strlen(report));

	if (!err) {
		reply_json(r, MHD_HTTP_OK,
			   json_pack("{s:b, s:o}", "merged", 1, "report", text));
		return;
	}
	reply_json(
	    r, reply_status(err->code),
	    json_pack("{s:b, s:o, s:o, s:s}", "merged", 0, "report", text, "error",
		      text_json(err->text, strlen(err->text)), "code",
		      strerrorname_np(-err->code) ? strerrorname_np(-err->code) : "EIO"));
}

static void merged(void *ctx, const struct error *err)
{
	struct merge_call *call = ctx;

	call->done = true;
	if (call->r)
		answer(call->r, err);
	else
		call_free(call);
}

static void all_awake(struct rouse *rouse)
{
	struct merge_call *call = container_of(rouse, struct merge_call, rouse);
	struct error err;

	call->begun = true;
	if (merge_files_begin(call->r->sb, call->names, call->count, call->favour, merged,
			      call, &call->merge, &err) == 0)
		return;
	call->done = true;
	reply_error(call->r, &err);
}

/* Return: 0 or -EINVAL with @err filled. */
static int parse_favour(const struct request *r, enum merge3_favour *favour,
			struct error *err)
{
	const char *text = "none";
	int e = request_text(r, "favour", &text, err);

	*favour = strcmp(text, "ours") == 0	? MERGE3_FAVOUR_OURS
		  : strcmp(text, "theirs") == 0 ? MERGE3_FAVOUR_THEIRS
						: MERGE3_FAVOUR_NONE;
	if (e == 0 && *favour == MERGE3_FAVOUR_NONE && strcmp(text, "none") != 0)
		return error_say(err, EINVAL, "favour is ours, theirs or none");
	return e;
}

/* A fork by its name, or by its id. */
static const char *name_of(const struct request *r, const char *text)
{
	const struct sandbox *fork = sandbox_by_id(r->core, text);

	return fork && fork->folder == FOLDER_FORKS(r->sb->serial) ? fork->name : text;
}

/* Return: 0 or -errno with @err filled. */
static int parse_names(struct merge_call *call, struct error *err)
{
	const json_t *files = json_object_get(call->r->body, "files");
	size_t count = json_array_size(files);

	call->names = calloc(count + 1, sizeof(*call->names));
	if (!call->names)
		return error_set(err, ENOMEM, "cannot merge");
	for (size_t i = 0; i < count; i++) {
		const json_t *name = json_array_get(files, i);

		if (!json_is_string(name))
			break;
		call->names[i] = strdup(name_of(call->r, json_string_value(name)));
		if (!call->names[i])
			return error_set(err, ENOMEM, "cannot merge");
		call->count++;
	}
	if (!count || call->count < count)
		return error_say(err, EINVAL, "files is a list of names or ids of forks");
	return 0;
}

static void merge(struct request *r)
{
	struct merge_call *call = calloc(1, sizeof(*call));
	struct error err;

	if (!call) {
		reply_say(r, ENOMEM, "no memory for this request");
		return;
	}
	call->r = r;
	r->state = call;
	r->end = call_end;
	if (parse_favour(r, &call->favour, &err) < 0 || parse_names(call, &err) < 0)
		reply_error(r, &err);
	else
		rouse_begin(&call->rouse, r->sb, call->names, call->count, all_awake);
}

const struct route merge_routes[] = {
    {"POST", "/v1/sandboxes/{id}/merge", merge, ROUTE_SANDBOX | ROUTE_JSON},
    {0},
};
