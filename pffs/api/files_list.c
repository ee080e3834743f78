/*
 * What is in a directory, and what a name is.
 */
#include "pffs/api/files.h"

#include "pffs/api/shown.h"
#include "pffs/api/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *type_name(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "device";
	}
}

static json_t *entry_path(const struct file_call *call, const char *name)
{
	char path[FILES_PATH_MAX + FILES_NAME_MAX + 2];

	if (call->alone)
		return text_json(call->path, strlen(call->path));
	snprintf(path, sizeof(path), "%s%s%s", call->path, *call->path ? "/" : "", name);
	return text_json(path, strlen(path));
}

static json_t *make_entry(const struct file_call *call, size_t i)
{
	const struct dir_entry *entry = &call->entries.list[i];
	const struct files_attr *attr = &entry->attr;
	struct timespec modified = {attr->mtime_ns / 1000000000,
				    attr->mtime_ns % 1000000000};
	json_t *target = call->targets ? call->targets[i] : NULL, *json;

	json = json_pack("{s:o, s:o, s:s, s:I, s:o, s:I, s:I, s:o}", "name",
			 text_json(entry->name, strlen(entry->name)), "path",
			 entry_path(call, entry->name), "type", type_name(attr->mode),
			 "size", (json_int_t)attr->size, "mode",
			 json_sprintf("%04o", attr->mode & 07777), "uid",
			 (json_int_t)attr->uid, "gid", (json_int_t)attr->gid, "modified",
			 shown_time(&modified));
	if (target)
		json_object_set(json, "target", target);
	return json;
}

/* The next entry, and what is around all of them. Return: 0 or -ENOMEM. */
static int print_entry(struct file_call *call)
{
	json_t *json = make_entry(call, call->next_entry);
	char *text = json_dumps(json, JSON_COMPACT);
	const char *before = call->next_entry ? "," : "";
	int r = -ENOMEM;

	json_decref(json);
	if (text && buf_append(&call->list, before, strlen(before)) == 0)
		r = buf_append(&call->list, text, strlen(text));
	free(text);
	call->next_entry++;
	return r;
}

/* A long list is put into JSON as the client takes it, so that nobody else waits for all
 * of that. */
static ssize_t send_list(struct request *r, char *to, size_t len)
{
	struct file_call *call = r->state;
	struct buf *list = &call->list;
	int e = 0;

	while (e == 0 && list->len < len && call->next_entry < call->entries.count)
		e = print_entry(call);
	if (e == 0 && call->next_entry == call->entries.count && !call->list_ended) {
		e = buf_append(list, "]}", 2);
		call->list_ended = true;
	}
	if (e < 0)
		return e;
	if (len > list->len)
		len = list->len;
	if (len)
		memcpy(to, buf_peek(list), len);
	buf_consume(list, len);
	return (ssize_t)len;
}

static void answer(struct file_call *call)
{
	static const char head[] = "{\"entries\":[";

	if (call->alone)
		reply_json(call->r, MHD_HTTP_OK, make_entry(call, 0));
	else if (buf_append(&call->list, head, strlen(head)) < 0)
		file_fail(call, ENOMEM);
	else
		reply_stream(call->r, MHD_HTTP_OK, "application/json", REPLY_OPEN,
			     send_list);
}

static void ask_link(struct file_link *link);

/* A link that has gone meanwhile has no target. */
static void have_target(void *ctx, const struct files_reply *reply)
{
	struct file_link *link = ctx;
	struct file_call *call = link->call;

	if (!reply->error && reply->data_len <= FILES_PATH_MAX)
		call->targets[link->index] =
		    text_json((const char *)reply->data, reply->data_len);
	call->links_asked--;
	ask_link(link);
	if (!call->links_asked)
		answer(call);
}

/* The next one that nobody has asked for. */
static void ask_link(struct file_link *link)
{
	struct file_call *call = link->call;
	char path[FILES_PATH_MAX + FILES_NAME_MAX + 2];
	const struct files_request request = {.op = FILES_READLINK, .path = path};
	const struct dir_entry *entry;

	while (call->next_link < call->entries.count &&
	       !S_ISLNK(call->entries.list[call->next_link].attr.mode))
		call->next_link++;
	if (call->next_link == call->entries.count)
		return;
	entry = &call->entries.list[call->next_link];
	link->index = call->next_link++;
	if (call->alone)
		snprintf(path, sizeof(path), "%s", call->path);
	else
		snprintf(path, sizeof(path), "%s%s%s", call->path, *call->path ? "/" : "",
			 entry->name);
	call->links_asked++;
	errand_ask(&link->errand, &request, have_target);
}

static void find_targets(struct file_call *call)
{
	call->targets = calloc(call->entries.count + 1, sizeof(json_t *));
	if (!call->targets) {
		file_fail(call, ENOMEM);
		return;
	}
	for (unsigned i = 0; i < FILE_LINKS_AT_ONCE; i++) {
		call->links[i].call = call;
		errand_init(&call->links[i].errand, call->r->sb, &call->links[i]);
		ask_link(&call->links[i]);
	}
	if (!call->links_asked)
		answer(call);
}

static void listed(void *ctx, struct dir_entries *entries, const struct error *err)
{
	struct file_call *call = ctx;

	call->listing = NULL;
	if (!entries) {
		reply_error(call->r, err);
		return;
	}
	call->entries = *entries;
	*entries = (struct dir_entries){0};
	find_targets(call);
}

void file_list(struct file_call *call)
{
	call->listing = dir_list_begin(call->r->sb, call->path, listed, call);
	if (!call->listing)
		file_fail(call, ENOMEM);
}

void file_stat(struct file_call *call)
{
	const char *slash = strrchr(call->path, '/');
	struct dir_entry *entry = calloc(1, sizeof(*entry));
	char *name = strdup(slash ? slash + 1 : call->path);

	if (!entry || !name) {
		free(entry);
		free(name);
		file_fail(call, ENOMEM);
		return;
	}
	*entry = (struct dir_entry){call->attr, name};
	call->entries = (struct dir_entries){.list = entry, .count = 1, .room = 1};
	call->alone = true;
	find_targets(call);
}

void file_lists_end(struct file_call *call)
{
	for (unsigned i = 0; i < FILE_LINKS_AT_ONCE; i++)
		errand_fini(&call->links[i].errand);
	for (size_t i = 0; call->targets && i < call->entries.count; i++)
		json_decref(call->targets[i]);
	free(call->targets);
	buf_fini(&call->list);
	dir_entries_fini(&call->entries);
}
