#include "pffs/core/files/fetch.h"

#include "pffs/core/files/files.h"
#include "util/work.h"

#include <errno.h>
#include <stdlib.h>

#define TREE_LIMIT (64u << 20) /* bytes of a tree: of some half a million files */
#define TREE_SMALL (1u << 20)  /* bytes that are taken for a tree while others wait */

struct fetch {
	struct sandbox *sb;	 /* reference */
	struct files_call *call; /* that has no reply yet */
	uint32_t handle;
	uint64_t offset, limit;
	bool part; /* limit is where to stop */
	struct buf bytes;
	fetch_fn *done; /* this one, or the other: then it is a tree */
	fetch_tree_fn *tree_done;
	void *ctx;
	struct work work; /* while a large tree is made of the bytes */
	bool working, abandoned;
	struct tree tree;
	struct error err; /* why there is none */
	int parsed;
};

static void close_handle(struct fetch *fetch)
{
	const struct files_request request = {.op = FILES_CLOSE, .handle = fetch->handle};

	if (fetch->handle)
		files_request(fetch->sb, &request, NULL, NULL, NULL);
	fetch->handle = 0;
}

static void release(struct fetch *fetch)
{
	close_handle(fetch);
	buf_fini(&fetch->bytes);
	sandbox_unref(fetch->sb);
	free(fetch);
}

static void parse(struct work *work)
{
	struct fetch *fetch = container_of(work, struct fetch, work);

	fetch->parsed = tree_parse(&fetch->tree, &fetch->bytes, &fetch->err);
}

static void have_parsed(struct work *work)
{
	struct fetch *fetch = container_of(work, struct fetch, work);
	bool well = fetch->parsed == 0;

	if (!fetch->abandoned)
		fetch->tree_done(fetch->ctx, well ? &fetch->tree : NULL,
				 well ? NULL : &fetch->err);
	tree_fini(&fetch->tree);
	release(fetch);
}

static void make_tree(struct fetch *fetch)
{
	fetch->call = NULL;
	close_handle(fetch);
	if (fetch->bytes.len > TREE_SMALL) {
		fetch->working = true;
		work_begin(fetch->sb->core->loop, &fetch->work, parse, have_parsed);
	} else {
		parse(&fetch->work);
		have_parsed(&fetch->work);
	}
}

static void finish(struct fetch *fetch, const struct error *err)
{
	if (!fetch->done && !err) {
		make_tree(fetch);
		return;
	}
	if (fetch->done)
		fetch->done(fetch->ctx, err ? NULL : &fetch->bytes, err);
	else
		fetch->tree_done(fetch->ctx, NULL, err);
	release(fetch);
}

static void fail(struct fetch *fetch, int code)
{
	struct error err;

	if (fetch->done)
		error_set(&err, code, "cannot read a file of %s", fetch->sb->name);
	else if (code == EFBIG)
		error_say(&err, EFBIG,
			  "%s has too many files that are not its template's: a list of "
			  "them is larger than %u MiB",
			  fetch->sb->name, TREE_LIMIT >> 20);
	else
		error_set(&err, code, "cannot list the files of %s", fetch->sb->name);
	finish(fetch, &err);
}

/* Return: whether there will be a reply; else it has failed. */
static bool ask(struct fetch *fetch, const struct files_request *request,
		files_done_fn *done)
{
	int r = files_request(fetch->sb, request, done, fetch, &fetch->call);

	if (r < 0)
		fail(fetch, -r);
	return r == 0;
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

/* Return: NULL when @kind's function was called already. */
static struct fetch *begin(struct sandbox *sb, const struct files_request *request,
			   const struct fetch *kind)
{
	struct fetch *fetch = malloc(sizeof(*fetch));
	struct error err;

	if (!fetch) {
		error_set(&err, ENOMEM, "cannot look at the files of %s", sb->name);
		if (kind->done)
			kind->done(kind->ctx, NULL, &err);
		else if (kind->tree_done)
			kind->tree_done(kind->ctx, NULL, &err);
		return NULL;
	}
	*fetch = *kind;
	fetch->sb = sandbox_ref(sb);
	return ask(fetch, request, have_opened) ? fetch : NULL;
}

struct fetch *fetch_file(struct sandbox *sb, const char *path, uint64_t limit,
			 fetch_fn *done, void *ctx)
{
	const struct files_request request = {
	    .op = FILES_OPEN, .flags = FILES_O_READ, .path = path};
	const struct fetch kind = {.limit = limit, .done = done, .ctx = ctx};

	return begin(sb, &request, &kind);
}

struct fetch *fetch_part(struct sandbox *sb, const char *path, uint64_t offset,
			 uint64_t size, fetch_fn *done, void *ctx)
{
	const struct files_request request = {
	    .op = FILES_OPEN, .flags = FILES_O_READ, .path = path};
	const struct fetch kind = {
	    .offset = offset, .limit = size, .part = true, .done = done, .ctx = ctx};

	return begin(sb, &request, &kind);
}

static struct fetch *begin_tree(struct sandbox *sb, const struct files_request *request,
				fetch_tree_fn *done, void *ctx)
{
	const struct fetch kind = {.limit = TREE_LIMIT, .tree_done = done, .ctx = ctx};

	return begin(sb, request, &kind);
}

struct fetch *fetch_tree(struct sandbox *sb, const struct buf *picks, fetch_tree_fn *done,
			 void *ctx)
{
	const struct files_request request = {
	    .op = FILES_TREE,
	    .data = picks ? buf_peek(picks) : NULL,
	    .data_len = picks ? (uint32_t)picks->len : 0,
	};

	return begin_tree(sb, &request, done, ctx);
}

struct fetch *fetch_image(struct sandbox *sb, fetch_tree_fn *done, void *ctx)
{
	const struct files_request request = {.op = FILES_TREE, .flags = FILES_IMAGE};

	return begin_tree(sb, &request, done, ctx);
}

void fetch_cancel(struct fetch *fetch)
{
	if (fetch->working) {
		fetch->abandoned = true; /* it goes when the thread has done */
		return;
	}
	files_cancel(fetch->call);
	release(fetch);
}
