#include "pffs/core/fetch.h"

#include "pffs/core/files.h"
#include "util/cleanup.h"

#include <errno.h>
#include <stdlib.h>

#define TREE_LIMIT (256u << 20) /* bytes of a tree: of some two million files */

struct fetch {
	struct sandbox *sb; /* reference */
	uint32_t handle;
	uint64_t offset, limit;
	bool part; /* limit is where to stop */
	struct buf bytes;
	fetch_fn *done;
	void *ctx;
};

static void finish(struct fetch *fetch, const struct error *err)
{
	const struct files_request request = {.op = FILES_CLOSE, .handle = fetch->handle};

	if (fetch->handle)
		files_request(fetch->sb, &request, NULL, NULL, NULL);
	fetch->done(fetch->ctx, err ? NULL : &fetch->bytes, err);
	buf_fini(&fetch->bytes);
	sandbox_unref(fetch->sb);
	free(fetch);
}

static void fail(struct fetch *fetch, int code)
{
	struct error err;

	error_set(&err, code, "cannot read a file of %s", fetch->sb->name);
	finish(fetch, &err);
}

static void ask(struct fetch *fetch, const struct files_request *request,
		files_done_fn *done)
{
	int r = files_request(fetch->sb, request, done, fetch, NULL);

	if (r < 0)
		fail(fetch, -r);
}

static void have_read(void *ctx, const struct files_reply *reply);

static void read_on(struct fetch *fetch)
{
	const struct files_request request = {
	    .op = FILES_READ,
	    .handle = fetch->handle,
	    .offset = fetch->offset + fetch->bytes.len,
	    .size = FILES_IO_MAX,
	};

	ask(fetch, &request, have_read);
}

/* A short answer is the last. */
static bool is_whole(const struct fetch *fetch, uint32_t len)
{
	return len < FILES_IO_MAX || (fetch->part && fetch->bytes.len == fetch->limit);
}

static void have_read(void *ctx, const struct files_reply *reply)
{
	struct fetch *fetch = ctx;

	if (reply->error)
		fail(fetch, reply->error);
	else if (reply->data_len > fetch->limit - fetch->bytes.len)
		fail(fetch, EFBIG);
	else if (reply->data_len &&
		 buf_append(&fetch->bytes, reply->data, reply->data_len) < 0)
		fail(fetch, ENOMEM);
	else if (is_whole(fetch, reply->data_len))
		finish(fetch, NULL);
	else
		read_on(fetch);
}

static void have_opened(void *ctx, const struct files_reply *reply)
{
	struct fetch *fetch = ctx;

	fetch->handle = reply->error ? 0 : reply->handle;
	if (reply->error)
		fail(fetch, reply->error);
	else
		read_on(fetch);
}

static void begin(struct sandbox *sb, const struct files_request *request,
		  const struct fetch *kind, fetch_fn *done, void *ctx)
{
	struct fetch *fetch = malloc(sizeof(*fetch));
	struct error err;

	if (!fetch) {
		error_set(&err, ENOMEM, "cannot read a file of %s", sb->name);
		done(ctx, NULL, &err);
		return;
	}
	*fetch = *kind;
	fetch->sb = sandbox_ref(sb);
	fetch->done = done;
	fetch->ctx = ctx;
	ask(fetch, request, have_opened);
}

void fetch_file(struct sandbox *sb, const char *path, uint64_t limit, fetch_fn *done,
		void *ctx)
{
	const struct files_request request = {
	    .op = FILES_OPEN, .flags = FILES_O_READ, .path = path};

	begin(sb, &request, &(struct fetch){.limit = limit}, done, ctx);
}

void fetch_part(struct sandbox *sb, const char *path, uint64_t offset, uint64_t size,
		fetch_fn *done, void *ctx)
{
	const struct files_request request = {
	    .op = FILES_OPEN, .flags = FILES_O_READ, .path = path};
	const struct fetch kind = {.offset = offset, .limit = size, .part = true};

	begin(sb, &request, &kind, done, ctx);
}

struct tree_fetch {
	fetch_tree_fn *done;
	void *ctx;
};

static void have_tree(void *ctx, struct buf *bytes, const struct error *failed)
{
	cleanup_free struct tree_fetch *fetch = ctx;
	struct tree tree = {0};
	struct error err;

	if (!bytes) {
		fetch->done(fetch->ctx, NULL, failed);
	} else if (tree_parse(&tree, bytes, &err) < 0) {
		fetch->done(fetch->ctx, NULL, &err);
	} else {
		fetch->done(fetch->ctx, &tree, NULL);
		tree_fini(&tree);
	}
}

static void begin_tree(struct sandbox *sb, uint32_t flags, fetch_tree_fn *done, void *ctx)
{
	const struct files_request request = {.op = FILES_TREE, .flags = flags};
	struct tree_fetch *fetch = malloc(sizeof(*fetch));
	struct error err;

	if (!fetch) {
		error_set(&err, ENOMEM, "cannot look at the files of %s", sb->name);
		done(ctx, NULL, &err);
		return;
	}
	*fetch = (struct tree_fetch){.done = done, .ctx = ctx};
	begin(sb, &request, &(struct fetch){.limit = TREE_LIMIT}, have_tree, fetch);
}

void fetch_tree(struct sandbox *sb, fetch_tree_fn *done, void *ctx)
{
	begin_tree(sb, 0, done, ctx);
}

void fetch_image(struct sandbox *sb, fetch_tree_fn *done, void *ctx)
{
	begin_tree(sb, FILES_IMAGE, done, ctx);
}
