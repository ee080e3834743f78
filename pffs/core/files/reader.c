#include "pffs/core/files/reader.h"

#include "pffs/core/files/errand.h"
#include "pffs/core/files/files_node.h"
#include "pffs/core/files/files_path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	struct errand errand;
	struct outlet outlet;
	uint32_t handle;
	struct files_version version;
	uint64_t at, end; /* what is to be read */
	bool reopened;	  /* and nothing was read since */
	reader_fn *opened;
	void *ctx;
	char path[FILES_PATH_MAX + 1];
};

static void read_on(struct reader *reader);

static void fail(struct reader *reader, int code, const char *why)
{
	struct error err;

	if (why)
		error_say(&err, code, "/%.200s %s", reader->path, why);
	else
		error_set(&err, code, "/%.200s", reader->path);
	outlet_end(&reader->outlet, &err);
}

static void ask_open(struct reader *reader, files_done_fn *done)
{
	const struct files_request request = {
	    .op = FILES_OPEN, .flags = FILES_O_READ, .path = reader->path};

	errand_ask(&reader->errand, &request, done);
}

static void have_again(void *ctx, const struct files_reply *reply)
{
	struct reader *reader = ctx;

	reader->handle = reply->error ? 0 : reply->handle;
	if (reply->error)
		fail(reader, reply->error, NULL);
	else if (!reply->has_attr || !files_version_is(&reader->version, &reply->attr))
		fail(reader, EIO, "changed while it was read");
	else
		read_on(reader);
}

/* Whoever is told may close it. */
static void took_piece(struct reader *reader)
{
	bool more = reader->at < reader->end;

	read_on(reader);
	if (more)
		reader->outlet.came(reader->outlet.ctx);
}

static void have_read(void *ctx, const struct files_reply *reply)
{
	struct reader *reader = ctx;

	if (reply->error == EBADF && !reader->reopened) {
		reader->reopened = true;
		ask_open(reader, have_again);
	} else if (reply->error) {
		fail(reader, reply->error, NULL);
	} else if (!reply->data_len || reply->data_len > reader->end - reader->at) {
		fail(reader, EIO, "became shorter while it was read");
	} else if (buf_append(&reader->outlet.bytes, reply->data, reply->data_len) < 0) {
		fail(reader, ENOMEM, NULL);
	} else {
		reader->at += reply->data_len;
		reader->reopened = false;
		took_piece(reader);
	}
}

static void read_on(struct reader *reader)
{
	uint64_t left = reader->end - reader->at;
	const struct files_request request = {
	    .op = FILES_READ,
	    .handle = reader->handle,
	    .offset = reader->at,
	    .size = left < FILES_IO_MAX ? left : FILES_IO_MAX,
	};

	if (!left)
		outlet_end(&reader->outlet, NULL);
	else if (!outlet_is_full(&reader->outlet))
		errand_ask(&reader->errand, &request, have_read);
}

static void wanted(struct outlet *outlet)
{
	struct reader *reader = container_of(outlet, struct reader, outlet);

	if (!errand_asks(&reader->errand))
		read_on(reader);
}

static void close_outlet(struct outlet *outlet)
{
	reader_close(container_of(outlet, struct reader, outlet));
}

static void first(void *ctx, const struct files_reply *reply)
{
	read_on(ctx);
	(void)reply;
}

struct outlet *reader_start(struct reader *reader, uint64_t offset, uint64_t size,
			    void (*came)(void *ctx), void *ctx)
{
	reader->at = offset;
	reader->end = offset + size;
	reader->outlet = (struct outlet){
	    .came = came, .ctx = ctx, .wanted = wanted, .close = close_outlet};
	errand_pause(&reader->errand, first);
	return &reader->outlet;
}

static void have_opened(void *ctx, const struct files_reply *reply)
{
	struct reader *reader = ctx;
	int error = reply->error;
	struct error err;

	reader->handle = error ? 0 : reply->handle;
	if (!error && (!reply->has_attr || !files_attr_ok(&reply->attr)))
		error = EIO;
	if (!error && !S_ISREG(reply->attr.mode))
		error = EINVAL;
	if (error) {
		error_set(&err, error, "/%.200s", reader->path);
		reader->opened(reader->ctx, NULL, &err);
		return;
	}
	reader->version = files_version_of(&reply->attr);
	reader->opened(reader->ctx, &reply->attr, NULL);
}

struct reader *reader_open(struct sandbox *sb, const char *path, reader_fn *opened,
			   void *ctx)
{
	struct reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return NULL;
	reader->opened = opened;
	reader->ctx = ctx;
	snprintf(reader->path, sizeof(reader->path), "%s", path);
	errand_init(&reader->errand, sb, reader);
	ask_open(reader, have_opened);
	return reader;
}

void reader_close(struct reader *reader)
{
	if (!reader)
		return;
	errand_close(&reader->errand, &reader->handle);
	errand_fini(&reader->errand);
	buf_fini(&reader->outlet.bytes);
	free(reader);
}
