#include "pffs/core/files/remove_tree.h"

#include "pffs/core/files/errand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BATCH (64u << 10) /* bytes of entries */

struct remove_tree {
	struct errand errand;
	size_t top; /* the length of the path that goes */
	bool recursive;
	struct buf entries; /* of the directory, as they came; what was not seen yet */
	remove_tree_fn *done;
	void *ctx;
	char path[FILES_PATH_MAX + 1]; /* what goes now */
};

static void list(struct remove_tree *tree);
static void take_next(struct remove_tree *tree);

static void finish(struct remove_tree *tree, int error)
{
	remove_tree_fn *done = tree->done;
	void *ctx = tree->ctx;
	struct error err;

	if (error)
		error_set(&err, error, "cannot remove /%.200s", tree->path);
	remove_tree_cancel(tree);
	done(ctx, error ? &err : NULL);
}

/* Back to the directory that it was in. */
static void go_up(struct remove_tree *tree)
{
	char *slash = strrchr(tree->path, '/');

	*(slash ? slash : tree->path) = '\0';
}

static void ask(struct remove_tree *tree, int op, files_done_fn *done)
{
	const struct files_request request = {.op = (uint8_t)op, .path = tree->path};

	errand_ask(&tree->errand, &request, done);
}

static void have_removed_dir(void *ctx, const struct files_reply *reply)
{
	struct remove_tree *tree = ctx;
	bool whole = strlen(tree->path) == tree->top;

	if (reply->error == ENOTEMPTY && tree->recursive) {
		list(tree); /* something has come into it */
	} else if (whole || (reply->error && reply->error != ENOENT)) {
		finish(tree, reply->error);
	} else {
		go_up(tree);
		list(tree);
	}
}

/* What others have removed is as good. */
static void have_removed(void *ctx, const struct files_reply *reply)
{
	struct remove_tree *tree = ctx;
	bool whole = strlen(tree->path) == tree->top;

	if (whole || (reply->error && reply->error != ENOENT)) {
		finish(tree, reply->error);
	} else {
		go_up(tree);
		take_next(tree);
	}
}

static int append(struct remove_tree *tree, const char *name)
{
	size_t used = strlen(tree->path);

	if (used + 1 + strlen(name) > FILES_PATH_MAX)
		return ENAMETOOLONG;
	snprintf(tree->path + used, sizeof(tree->path) - used, "/%s", name);
	return 0;
}

/* A directory is gone into, and the rest of this one's entries are listed again. */
static void take_next(struct remove_tree *tree)
{
	struct cursor c = cursor_over(buf_peek(&tree->entries), tree->entries.len);
	struct files_entry entry;
	int r = files_get_entry(&c, &entry);

	if (r == 0) {
		list(tree);
		return;
	}
	if (r > 0)
		r = append(tree, entry.name);
	if (r) {
		finish(tree, r < 0 ? EIO : r);
		return;
	}
	buf_consume(&tree->entries, tree->entries.len - cursor_left(&c));
	if (S_ISDIR(entry.attr.mode))
		list(tree);
	else
		ask(tree, FILES_UNLINK, have_removed);
}

static void have_listed(void *ctx, const struct files_reply *reply)
{
	struct remove_tree *tree = ctx;

	buf_consume(&tree->entries, tree->entries.len);
	if (reply->error)
		finish(tree, reply->error);
	else if (!reply->data_len)
		ask(tree, FILES_RMDIR, have_removed_dir);
	else if (buf_append(&tree->entries, reply->data, reply->data_len) < 0)
		finish(tree, ENOMEM);
	else
		take_next(tree);
}

static void list(struct remove_tree *tree)
{
	const struct files_request request = {
	    .op = FILES_LIST, .path = tree->path, .size = BATCH};

	errand_ask(&tree->errand, &request, have_listed);
}

struct remove_tree *remove_tree_begin(struct sandbox *sb, const char *path, bool is_dir,
				      bool recursive, remove_tree_fn *done, void *ctx)
{
	struct remove_tree *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return NULL;
	tree->top = strlen(path);
	tree->recursive = recursive;
	tree->done = done;
	tree->ctx = ctx;
	snprintf(tree->path, sizeof(tree->path), "%s", path);
	errand_init(&tree->errand, sb, tree);
	if (!is_dir)
		ask(tree, FILES_UNLINK, have_removed);
	else
		ask(tree, FILES_RMDIR, have_removed_dir);
	return tree;
}

void remove_tree_cancel(struct remove_tree *tree)
{
	errand_fini(&tree->errand);
	buf_fini(&tree->entries);
	free(tree);
}
