#include "pffs/core/files/make_dirs.h"

#include "pffs/core/files/errand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct make_dirs {
	struct errand errand;
	size_t len, at; /* of the path: all, and what is there */
	make_dirs_fn *done;
	void *ctx;
	char path[FILES_PATH_MAX + 1];
};

static void finish(struct make_dirs *dirs, int error)
{
	make_dirs_fn *done = dirs->done;
	void *ctx = dirs->ctx;
	struct error err;

	if (error)
		error_set(&err, error, "cannot make the directory /%.200s", dirs->path);
	make_dirs_cancel(dirs);
	done(ctx, error ? &err : NULL);
}

/* That something else has the name is told by whoever goes on there. */
static void made(void *ctx, const struct files_reply *reply)
{
	struct make_dirs *dirs = ctx;
	struct files_request request = {
	    .op = FILES_MKDIR, .mode = 0755, .path = dirs->path};
	size_t next;

	if (reply->error && reply->error != EEXIST) {
		finish(dirs, reply->error);
		return;
	}
	if (dirs->at >= dirs->len) {
		finish(dirs, 0);
		return;
	}
	if (dirs->at)
		dirs->path[dirs->at++] = '/';
	next = strcspn(dirs->path + dirs->at, "/");
	dirs->at += next;
	dirs->path[dirs->at] = '\0';
	errand_ask(&dirs->errand, &request, made);
}

struct make_dirs *make_dirs_begin(struct sandbox *sb, const char *path, size_t len,
				  size_t there, make_dirs_fn *done, void *ctx)
{
	struct make_dirs *dirs = calloc(1, sizeof(*dirs));

	if (!dirs)
		return NULL;
	dirs->len = len;
	dirs->at = there < len ? there : len;
	dirs->done = done;
	dirs->ctx = ctx;
	memcpy(dirs->path, path, len);
	errand_init(&dirs->errand, sb, dirs);
	errand_pause(&dirs->errand, made);
	return dirs;
}

void make_dirs_cancel(struct make_dirs *dirs)
{
	errand_fini(&dirs->errand);
	free(dirs);
}
