#include "pffs/api/files.h"

#include "pffs/core/files/tar_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct finding {
	struct file_call call; /* first: it is freed as that */
	file_found_fn *found;
};

static void call_end(struct request *r)
{
	struct file_call *call = r->state;

	if (call->resolve)
		resolve_cancel(call->resolve);
	reader_close(call->reader);
	outlet_close(call->outlet);
	if (call->listing)
		dir_list_cancel(call->listing);
	if (call->removal)
		remove_tree_cancel(call->removal);
	if (call->dirs)
		make_dirs_cancel(call->dirs);
	if (call->writer)
		writer_abort(call->writer);
	if (call->tar)
		tar_in_abort(call->tar);
	errand_fini(&call->errand);
	file_lists_end(call);
	free(call->path);
	free(call);
}

void file_fail(struct file_call *call, int errnum)
{
	struct error err;

	error_set(&err, errnum, "/%.200s", call->path ? call->path : "");
	reply_error(call->r, &err);
}

static void resolved(void *ctx, const struct resolved *found, const struct error *err)
{
	struct finding *finding = ctx;
	struct file_call *call = &finding->call;

	call->resolve = NULL;
	if (!found) {
		reply_error(call->r, err);
		return;
	}
	call->path = strdup(found->path);
	call->existed = found->exists;
	call->there = found->there;
	call->attr = found->attr;
	if (call->path)
		finding->found(call);
	else
		file_fail(call, ENOMEM);
}

struct file_call *file_begin(struct request *r, unsigned how, file_found_fn *found)
{
	struct finding *finding = calloc(1, sizeof(*finding));

	if (!finding) {
		reply_say(r, ENOMEM, "no memory for this request");
		return NULL;
	}
	finding->found = found;
	finding->call.r = r;
	r->state = &finding->call;
	r->end = call_end;
	finding->call.resolve =
	    resolve_begin(r->sb, r->parameters[1], how, resolved, finding);
	if (!finding->call.resolve)
		file_fail(&finding->call, ENOMEM);
	return &finding->call;
}

ssize_t file_send(struct request *r, char *to, size_t len)
{
	struct file_call *call = r->state;
	ssize_t n = outlet_take(call->outlet, to, len);

	return n == 0 ? -EAGAIN : n == -ENODATA ? 0 : n;
}

void file_came(void *ctx)
{
	struct file_call *call = ctx;

	request_wake(call->r);
}

static void send_tar(struct file_call *call)
{
	call->outlet = tar_out(call->r->sb, call->path, &call->attr, file_came, call);
	if (call->outlet)
		reply_stream(call->r, MHD_HTTP_OK, "application/x-tar", REPLY_OPEN,
			     file_send);
	else
		file_fail(call, ENOMEM);
}

static void get_found(struct file_call *call)
{
	if (S_ISDIR(call->attr.mode))
		file_list(call);
	else if (S_ISREG(call->attr.mode))
		file_download(call);
	else
		reply_say(call->r, EINVAL,
			  "/%.200s is neither a file nor a directory: ?stat=true tells "
			  "what it is",
			  call->path);
}

/* Return: 0 or 1, or -EINVAL with @err filled. */
static int wants_tar(const struct request *r, struct error *err)
{
	const char *format = request_query(r, "format");

	if (!format)
		return 0;
	if (strcmp(format, "tar") == 0)
		return 1;
	return error_say(err, EINVAL, "format is tar, not \"%.40s\"", format);
}

static void get(struct request *r)
{
	struct error err;
	int stat = request_query_flag(r, "stat", &err);
	int tar = stat < 0 ? stat : wants_tar(r, &err);

	if (tar < 0)
		reply_error(r, &err);
	else if (tar && stat)
		reply_say(r, EINVAL, "it is either a tar or the entry");
	else if (stat)
		file_begin(r, RESOLVE_NO_FOLLOW, file_stat);
	else
		file_begin(r, 0, tar ? send_tar : get_found);
}

static void removed(void *ctx, const struct error *err)
{
	struct file_call *call = ctx;

	call->removal = NULL;
	if (err)
		reply_error(call->r, err);
	else
		reply_empty(call->r, MHD_HTTP_NO_CONTENT);
}

static void delete_found(struct file_call *call)
{
	struct error ignored;
	bool recursive = request_query_flag(call->r, "recursive", &ignored) == 1;

	if (!*call->path) {
		reply_say(call->r, EBUSY, "the root of the sandbox cannot be removed");
		return;
	}
	call->removal = remove_tree_begin(call->r->sb, call->path, S_ISDIR(call->attr.mode),
					  recursive, removed, call);
	if (!call->removal)
		file_fail(call, ENOMEM);
}

static void delete (struct request *r)
{
	struct error err;

	if (request_query_flag(r, "recursive", &err) < 0)
		reply_error(r, &err);
	else
		file_begin(r, RESOLVE_NO_FOLLOW, delete_found);
}

const struct route file_routes[] = {
    {"GET", "/v1/sandboxes/{id}/files/{path...}", get, ROUTE_SANDBOX},
    {"PUT", "/v1/sandboxes/{id}/files/{path...}", files_put, ROUTE_SANDBOX | ROUTE_PIECES},
    {"DELETE", "/v1/sandboxes/{id}/files/{path...}", delete, ROUTE_SANDBOX},
    {0},
};
