#include "pffs/core/files/dir_list.h"

#include "pffs/core/files/errand.h"
#include "pffs/core/files/files_path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct dir_list {
	struct errand errand;
	struct dir_entries entries;
	uint32_t handle; /* with which names that stay are seen once; 0: by its path */
	uint64_t cookie;
	bool again; /* it has begun a second time */
	dir_list_fn *done;
	void *ctx;
	char path[FILES_PATH_MAX + 1];
};

void dir_entries_fini(struct dir_entries *entries)
{
	for (size_t i = 0; i < entries->count; i++)
		free(entries->list[i].name);
	free(entries->list);
	*entries = (struct dir_entries){0};
}

static int by_name(const void *a, const void *b)
{
	const struct dir_entry *left = a, *right = b;

	return strcmp(left->name, right->name);
}

/* The guest may say a name twice. */
static void drop_doubles(struct dir_entries *entries)
{
	size_t kept = 0;

	for (size_t i = 0; i < entries->count; i++) {
		if (kept &&
		    strcmp(entries->list[i].name, entries->list[kept - 1].name) == 0)
			free(entries->list[i].name);
		else
			entries->list[kept++] = entries->list[i];
	}
	entries->count = kept;
}

static void finish(struct dir_list *list, int error)
{
	struct dir_entries *entries = &list->entries;
	struct error err;

	if (error) {
		error_set(&err, error, "cannot list /%.200s", list->path);
		list->done(list->ctx, NULL, &err);
	} else {
		if (entries->count)
			qsort(entries->list, entries->count, sizeof(*entries->list),
			      by_name);
		drop_doubles(entries);
		list->done(list->ctx, entries, NULL);
	}
	dir_list_cancel(list);
}

static int add(struct dir_entries *entries, const struct files_entry *entry)
{
	size_t room = entries->room ? entries->room * 2 : 64;
	struct dir_entry *grown;

	if (entries->count == DIR_LIST_MAX)
		return -EFBIG;
	if (entries->count == entries->room) {
		grown = realloc(entries->list, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		entries->list = grown;
		entries->room = room;
	}
	grown = &entries->list[entries->count];
	*grown = (struct dir_entry){entry->attr, strdup(entry->name)};
	if (!grown->name)
		return -ENOMEM;
	entries->count++;
	return 0;
}

/* Return: 0 or -errno. */
static int add_all(struct dir_list *list, const struct files_reply *reply)
{
	struct cursor c = cursor_over(reply->data, reply->data_len);
	struct files_entry entry;
	int r, added = 0;

	while ((r = files_get_entry(&c, &entry)) > 0 && added == 0) {
		list->cookie = entry.cookie;
		added = files_attr_ok(&entry.attr) ? add(&list->entries, &entry) : -EIO;
	}
	return r < 0 ? -EIO : added;
}

static void ask(struct dir_list *list);

/* A handle of another machine means nothing: all over again. */
static void have_some(void *ctx, const struct files_reply *reply)
{
	struct dir_list *list = ctx;
	bool first = !list->handle;
	int r;

	if (reply->error == EBADF && !first && !list->again) {
		list->again = true;
		dir_entries_fini(&list->entries);
		list->handle = 0;
		list->cookie = 0;
		ask(list);
		return;
	}
	if (!reply->error && first)
		list->handle = reply->handle;
	r = reply->error ? -reply->error : add_all(list, reply);
	if (r < 0)
		finish(list, -r);
	else if (reply->value)
		finish(list, 0);
	else if (!reply->data_len || !list->handle)
		finish(list, EIO);
	else
		ask(list);
}

static void ask(struct dir_list *list)
{
	const struct files_request request = {
	    .op = FILES_LIST,
	    .flags = list->handle ? 0 : FILES_KEEP,
	    .handle = list->handle,
	    .path = list->handle ? NULL : list->path,
	    .offset = list->cookie,
	    .size = FILES_IO_MAX,
	};

	errand_ask(&list->errand, &request, have_some);
}

struct dir_list *dir_list_begin(struct sandbox *sb, const char *path, dir_list_fn *done,
				void *ctx)
{
	struct dir_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->done = done;
	list->ctx = ctx;
	snprintf(list->path, sizeof(list->path), "%s", path);
	errand_init(&list->errand, sb, list);
	ask(list);
	return list;
}

void dir_list_cancel(struct dir_list *list)
{
	errand_close(&list->errand, &list->handle);
	errand_fini(&list->errand);
	dir_entries_fini(&list->entries);
	free(list);
}
