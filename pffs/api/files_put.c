/*
 * Files that come: one, a directory, or a tar of many.
 *
 * Until it is known where they go to, and while the guest is slower than the client, the
 * body is held back.
 */
#include "pffs/api/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void answer(struct file_call *call)
{
	reply_empty(call->r, call->existed ? MHD_HTTP_NO_CONTENT : MHD_HTTP_CREATED);
}

static void go_on(void *ctx)
{
	struct file_call *call = ctx;

	request_release(call->r);
}

static void fail(struct file_call *call, const struct error *err)
{
	request_release(call->r);
	reply_error(call->r, err);
}

static void settled(struct file_call *call, const struct error *err)
{
	if (err)
		fail(call, err);
	else
		answer(call);
}

static void written(void *ctx, const struct error *err)
{
	struct file_call *call = ctx;

	call->writer = NULL;
	settled(call, err);
}

static void taken_out(void *ctx, const struct error *err)
{
	struct file_call *call = ctx;

	call->tar = NULL;
	settled(call, err);
}

static int take_file(struct request *r, const void *data, size_t len, struct error *err)
{
	struct file_call *call = r->state;

	if (!call->writer)
		return 0;
	if (writer_put(call->writer, data, len) < 0)
		return error_set(err, ENOMEM, "cannot take the file");
	if (writer_is_full(call->writer))
		request_hold(r);
	return 0;
}

static int take_tar(struct request *r, const void *data, size_t len, struct error *err)
{
	struct file_call *call = r->state;

	if (!call->tar)
		return 0;
	if (tar_in_put(call->tar, data, len) < 0)
		return error_set(err, ENOMEM, "cannot take the tar");
	if (tar_in_is_full(call->tar))
		request_hold(r);
	return 0;
}

static int take_nothing(struct request *r, const void *data, size_t len, struct error *err)
{
	(void)r;
	(void)data;
	(void)len;
	return error_say(err, EINVAL, "a directory has no bytes: leave the body out");
}

static void file_whole(struct request *r)
{
	struct file_call *call = r->state;

	if (call->writer)
		writer_end(call->writer);
}

static void tar_whole(struct request *r)
{
	struct file_call *call = r->state;

	if (call->tar)
		tar_in_eof(call->tar);
}

/* What a file has that is replaced stays, but for its mode when one is given. */
static void put_file(struct file_call *call)
{
	bool kept = call->existed;
	const struct writer_order order = {
	    .path = call->path,
	    .there = call->there,
	    .mode = call->has_mode ? call->mode
		    : kept	   ? call->attr.mode
				   : 0644,
	    .uid = kept ? call->attr.uid : 0,
	    .gid = kept ? call->attr.gid : 0,
	};

	if (call->existed && !S_ISREG(call->attr.mode)) {
		file_fail(call, S_ISDIR(call->attr.mode) ? EISDIR : EINVAL);
		return;
	}
	call->writer = writer_begin(call->r->sb, &order, go_on, written, call);
	if (!call->writer)
		file_fail(call, ENOMEM);
}

static void mode_set(void *ctx, const struct files_reply *reply)
{
	struct file_call *call = ctx;

	if (reply->error)
		file_fail(call, reply->error);
	else
		answer(call);
}

static void set_mode(struct file_call *call)
{
	const struct files_request request = {.op = FILES_SETATTR,
					      .flags = FILES_SET_MODE,
					      .mode = call->mode,
					      .path = call->path};

	errand_init(&call->errand, call->r->sb, call);
	errand_ask(&call->errand, &request, mode_set);
}

static void take_out(struct file_call *call)
{
	struct error err;

	call->tar = tar_in_begin(call->r->sb, call->path, go_on, taken_out, call, &err);
	if (!call->tar)
		reply_error(call->r, &err);
}

static void dirs_made(void *ctx, const struct error *err)
{
	struct file_call *call = ctx;

	call->dirs = NULL;
	if (err) {
		fail(call, err);
	} else if (call->is_dir) {
		if (call->has_mode)
			set_mode(call);
		else
			answer(call);
	} else {
		take_out(call);
		go_on(call);
	}
}

static void make_missing(struct file_call *call)
{
	call->dirs = make_dirs_begin(call->r->sb, call->path, strlen(call->path),
				     call->there, dirs_made, call);
	if (!call->dirs)
		file_fail(call, ENOMEM);
}

/* A directory, or a tar that is to be taken out in one. */
static void put_directory(struct file_call *call)
{
	if (call->existed && !S_ISDIR(call->attr.mode))
		file_fail(call, EEXIST);
	else if (!call->existed || call->is_dir)
		make_missing(call);
	else
		take_out(call);
}

static void found(struct file_call *call)
{
	if (call->r->piece == take_file)
		put_file(call);
	else
		put_directory(call);
	if (!call->dirs || call->is_dir)
		go_on(call);
}

/* Return: 0 or -EINVAL with @err filled. */
static int parse_mode(struct file_call *call, const char *text, struct error *err)
{
	char *end;
	unsigned long mode;

	if (!text)
		return 0;
	mode = strtoul(text, &end, 8);
	if (*text < '0' || *text > '7' || *end || mode > 07777)
		return error_say(err, EINVAL,
				 "mode is an octal number up to 7777, not \"%.40s\"", text);
	call->has_mode = true;
	call->mode = (uint32_t)mode;
	return 0;
}

/* Return: 0 or -EINVAL with @err filled. */
static int parse(struct request *r, struct file_call *call, struct error *err)
{
	const char *type = request_query(r, "type");
	const char *format = request_query(r, "format");
	int e = parse_mode(call, request_query(r, "mode"), err);

	if (e < 0)
		return e;
	if (type && strcmp(type, "directory") != 0 && strcmp(type, "file") != 0)
		return error_say(err, EINVAL, "type is file or directory, not \"%.40s\"",
				 type);
	if (format && strcmp(format, "tar") != 0)
		return error_say(err, EINVAL, "format is tar, not \"%.40s\"", format);
	call->is_dir = type && strcmp(type, "directory") == 0;
	if (format && (type || call->has_mode))
		return error_say(err, EINVAL, "a tar has its own types and modes");
	r->piece = format ? take_tar : call->is_dir ? take_nothing : take_file;
	r->whole = format ? tar_whole : call->is_dir ? NULL : file_whole;
	return 0;
}

void files_put(struct request *r)
{
	struct file_call given = {0}, *call;
	struct error err;

	if (parse(r, &given, &err) < 0) {
		reply_error(r, &err);
		return;
	}
	call = file_begin(r, RESOLVE_MISSING, found);
	if (!call)
		return;
	call->is_dir = given.is_dir;
	call->has_mode = given.has_mode;
	call->mode = given.mode;
	request_hold(r);
}
