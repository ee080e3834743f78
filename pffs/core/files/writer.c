#include "pffs/core/files/writer.h"

#include "pffs/core/files/errand.h"
#include "pffs/core/files/make_dirs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct writer {
	struct errand errand;
	struct make_dirs *dirs; /* while these are made */
	char *path, *temporary;
	struct writer_order order;
	struct buf bytes; /* that were given and are not written */
	size_t sent;	  /* of these: are being written */
	uint64_t offset;  /* in the file, of the first of them */
	uint32_t handle;
	bool made; /* there is a file that has to go if this comes to no end */
	bool made_dirs;
	bool reopened; /* and nothing was written since */
	bool ended;    /* no more bytes come */
	bool failed;   /* nobody is told of anything any more */
	void (*room)(void *ctx);
	writer_fn *done;
	void *ctx;
};

static void go_on(struct writer *writer);

static void writer_free(struct writer *writer)
{
	if (writer->dirs)
		make_dirs_cancel(writer->dirs);
	errand_close(&writer->errand, &writer->handle);
	errand_fini(&writer->errand);
	buf_fini(&writer->bytes);
	free(writer->path);
	free(writer->temporary);
	free(writer);
}

/* Whether it was removed is nobody's to know. */
static void remove_temporary(struct writer *writer)
{
	const struct files_request request = {.op = FILES_UNLINK,
					      .path = writer->temporary};

	if (writer->made)
		files_request(writer->errand.sb, &request, NULL, NULL, NULL);
	writer_free(writer);
}

static void finish(struct writer *writer, const struct error *err)
{
	writer_fn *done = writer->done;
	void *ctx = writer->ctx;

	if (err)
		remove_temporary(writer);
	else
		writer_free(writer);
	done(ctx, err);
}

static void fail(struct writer *writer, int code)
{
	struct error err;

	error_set(&err, code, "cannot write /%.200s", writer->path);
	finish(writer, &err);
}

/* Return: whether it was aborted, and is gone. */
static bool is_over(struct writer *writer)
{
	if (!writer->failed)
		return false;
	remove_temporary(writer);
	return true;
}

static void have_renamed(void *ctx, const struct files_reply *reply)
{
	struct writer *writer = ctx;

	writer->made &= reply->error != 0;
	if (is_over(writer))
		return;
	if (reply->error)
		fail(writer, reply->error);
	else
		finish(writer, NULL);
}

static void have_set(void *ctx, const struct files_reply *reply)
{
	struct writer *writer = ctx;
	const struct files_request request = {
	    .op = FILES_RENAME, .path = writer->temporary, .path2 = writer->path};

	if (is_over(writer))
		return;
	if (reply->error)
		fail(writer, reply->error);
	else
		errand_ask(&writer->errand, &request, have_renamed);
}

static void put_in_place(struct writer *writer)
{
	const struct writer_order *order = &writer->order;
	const struct files_request request = {
	    .op = FILES_SETATTR,
	    .flags = FILES_SET_MODE | FILES_SET_UID | FILES_SET_GID |
		     (order->has_mtime ? FILES_SET_MTIME : 0),
	    .mode = order->mode & 07777,
	    .uid = order->uid,
	    .gid = order->gid,
	    .mtime_ns = order->mtime_ns,
	    .path = writer->temporary,
	};

	errand_close(&writer->errand, &writer->handle);
	errand_ask(&writer->errand, &request, have_set);
}

static void have_opened(void *ctx, const struct files_reply *reply);

static void open_file(struct writer *writer)
{
	const struct files_request request = {
	    .op = FILES_OPEN,
	    .flags = FILES_O_WRITE | (writer->made ? 0 : FILES_O_CREAT | FILES_O_EXCL),
	    .mode = 0600,
	    .path = writer->temporary,
	};

	errand_ask(&writer->errand, &request, have_opened);
}

static void have_dirs(void *ctx, const struct error *err)
{
	struct writer *writer = ctx;

	writer->dirs = NULL;
	if (err)
		finish(writer, err);
	else
		open_file(writer);
}

static void make_missing(struct writer *writer)
{
	const char *slash = strrchr(writer->path, '/');

	writer->made_dirs = true;
	writer->dirs =
	    make_dirs_begin(writer->errand.sb, writer->path, (size_t)(slash - writer->path),
			    writer->order.there, have_dirs, writer);
	if (!writer->dirs)
		fail(writer, ENOMEM);
}

static void have_opened(void *ctx, const struct files_reply *reply)
{
	struct writer *writer = ctx;

	writer->handle = reply->error ? 0 : reply->handle;
	writer->made |= !reply->error;
	if (is_over(writer))
		return;
	if (reply->error == ENOENT && !writer->made && !writer->made_dirs &&
	    strchr(writer->path, '/'))
		make_missing(writer);
	else if (reply->error)
		fail(writer, reply->error);
	else
		go_on(writer);
}

static void have_written(void *ctx, const struct files_reply *reply)
{
	struct writer *writer = ctx;
	bool was_full = writer_is_full(writer);
	bool wrong = !reply->value || reply->value > writer->sent;

	if (is_over(writer))
		return;
	if (reply->error == EBADF && !writer->reopened) {
		/* Another machine: it has the file, too. */
		writer->reopened = true;
		open_file(writer);
		return;
	}
	if (reply->error || wrong) {
		fail(writer, reply->error ? reply->error : EIO);
		return;
	}
	buf_consume(&writer->bytes, reply->value);
	writer->offset += reply->value;
	writer->reopened = false;
	go_on(writer);
	if (was_full && !writer_is_full(writer))
		writer->room(writer->ctx);
}

static void go_on(struct writer *writer)
{
	size_t len = writer->bytes.len < FILES_IO_MAX ? writer->bytes.len : FILES_IO_MAX;
	const struct files_request request = {
	    .op = FILES_WRITE,
	    .handle = writer->handle,
	    .offset = writer->offset,
	    .data = buf_peek(&writer->bytes),
	    .data_len = (uint32_t)len,
	};

	/* Many small pieces become a few large ones. */
	writer->sent = len;
	if (len == FILES_IO_MAX || (len && writer->ended))
		errand_ask(&writer->errand, &request, have_written);
	else if (writer->ended)
		put_in_place(writer);
}

static bool may_go_on(const struct writer *writer)
{
	return writer->handle && !errand_asks(&writer->errand);
}

int writer_put(struct writer *writer, const void *data, size_t len)
{
	int r = buf_append(&writer->bytes, data, len);

	if (r == 0 && may_go_on(writer))
		go_on(writer);
	return r;
}

bool writer_is_full(const struct writer *writer)
{
	return writer->bytes.len >= WRITER_ENOUGH;
}

void writer_end(struct writer *writer)
{
	writer->ended = true;
	if (may_go_on(writer))
		go_on(writer);
}

/* Return: "DIRECTORY/.pffs-upload-NUMBER" for @path, or NULL. */
static char *temporary_for(const char *path)
{
	const char *slash = strrchr(path, '/');
	int dir = slash ? (int)(slash - path) + 1 : 0;
	uint64_t number;
	char *name;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number) ||
	    asprintf(&name, "%.*s.pffs-upload-%016llx", dir, path,
		     (unsigned long long)number) < 0)
		return NULL;
	return name;
}

struct writer *writer_begin(struct sandbox *sb, const struct writer_order *order,
			    void (*room)(void *ctx), writer_fn *done, void *ctx)
{
	struct writer *writer = calloc(1, sizeof(*writer));

	if (!writer)
		return NULL;
	*writer = (struct writer){.order = *order, .room = room, .done = done, .ctx = ctx};
	errand_init(&writer->errand, sb, writer);
	writer->path = strdup(order->path);
	writer->temporary = temporary_for(order->path);
	if (!writer->path || !writer->temporary) {
		writer_free(writer);
		return NULL;
	}
	open_file(writer);
	return writer;
}

/* Whether the guest has made the file is known when it has answered. */
void writer_abort(struct writer *writer)
{
	if (errand_asks(&writer->errand))
		writer->failed = true;
	else
		remove_temporary(writer);
}
