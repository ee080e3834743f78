#include "pffs/core/files/resolve.h"

#include "pffs/core/files/errand.h"
#include "pffs/core/files/files_path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REST_MAX ((size_t)2 * FILES_PATH_MAX) /* a target and what came behind the link */

struct resolve {
	struct errand errand;
	unsigned how, links;
	char asked[REST_MAX + 1]; /* the path as it was given */
	char rest[REST_MAX + 1];  /* components that were not looked at yet */
	struct resolved found;	  /* its path: those that were */
	size_t parent;		  /* the length of that without the last one */
	resolve_fn *done;
	void *ctx;
};

static void finish(struct resolve *resolve, int error)
{
	resolve_fn *done = resolve->done;
	void *ctx = resolve->ctx;
	struct error err;

	errand_fini(&resolve->errand);
	if (error == ENOENT)
		error_say(&err, ENOENT, "there is no /%.200s in the sandbox",
			  resolve->asked);
	else if (error)
		error_set(&err, error, "/%.200s", resolve->asked);
	done(ctx, error ? NULL : &resolve->found, error ? &err : NULL);
	free(resolve);
}

/* Take slashes and "." away. Return: the length of the next component; 0: no more. */
static size_t next_component(struct resolve *resolve)
{
	const char *at = resolve->rest;
	size_t len;

	for (;;) {
		at += strspn(at, "/");
		len = strcspn(at, "/");
		if (len != 1 || *at != '.')
			break;
		at++;
	}
	memmove(resolve->rest, at, strlen(at) + 1);
	return len;
}

static void drop_component(struct resolve *resolve, size_t len)
{
	memmove(resolve->rest, resolve->rest + len, strlen(resolve->rest + len) + 1);
}

/* ".." of a path without links is what it looks like. */
static void go_up(struct resolved *found)
{
	char *slash = strrchr(found->path, '/');

	*(slash ? slash : found->path) = '\0';
}

/* Return: 0 or a positive errno. */
static int append(struct resolve *resolve, const char *name, size_t len)
{
	char *path = resolve->found.path;
	size_t used = strlen(path);

	if (len > FILES_NAME_MAX || used + (used > 0) + len > FILES_PATH_MAX)
		return ENAMETOOLONG;
	resolve->parent = used;
	if (used)
		path[used++] = '/';
	memcpy(path + used, name, len);
	path[used + len] = '\0';
	return 0;
}

/* What is left has no meaning but its text: nothing of it is there. */
static int append_rest(struct resolve *resolve)
{
	size_t len;
	int error = 0;

	while (!error && (len = next_component(resolve))) {
		if (len == 2 && strncmp(resolve->rest, "..", 2) == 0)
			return ENOENT;
		error = append(resolve, resolve->rest, len);
		drop_component(resolve, len);
	}
	return error;
}

static void is_missing(struct resolve *resolve)
{
	int error = ENOENT;

	if (resolve->how & RESOLVE_MISSING) {
		resolve->found.there = resolve->parent;
		error = append_rest(resolve);
	}
	finish(resolve, error);
}

static void exists(struct resolve *resolve)
{
	resolve->found.exists = true;
	resolve->found.there = strlen(resolve->found.path);
	finish(resolve, 0);
}

static void walk(struct resolve *resolve);

static void have_target(void *ctx, const struct files_reply *reply)
{
	struct resolve *resolve = ctx;
	size_t len = reply->data_len, left = strlen(resolve->rest);

	if (reply->error || !len || len > FILES_PATH_MAX ||
	    memchr(reply->data, '\0', len)) {
		finish(resolve, reply->error ? reply->error : EIO);
		return;
	}
	if (len + 1 + left > REST_MAX) {
		finish(resolve, ENAMETOOLONG);
		return;
	}
	memmove(resolve->rest + len + 1, resolve->rest, left + 1);
	memcpy(resolve->rest, reply->data, len);
	resolve->rest[len] = '/';
	resolve->found.path[reply->data[0] == '/' ? 0 : resolve->parent] = '\0';
	walk(resolve);
}

static void follow(struct resolve *resolve)
{
	const struct files_request request = {.op = FILES_READLINK,
					      .path = resolve->found.path};

	if (++resolve->links > RESOLVE_LINKS_MAX)
		finish(resolve, ELOOP);
	else
		errand_ask(&resolve->errand, &request, have_target);
}

static bool is_good(const struct files_reply *reply)
{
	return reply->has_attr && files_attr_ok(&reply->attr);
}

static bool is_meant(const struct resolve *resolve, const struct files_attr *attr)
{
	return !S_ISLNK(attr->mode) || resolve->how & RESOLVE_NO_FOLLOW;
}

static void have_component(void *ctx, const struct files_reply *reply)
{
	struct resolve *resolve = ctx;
	bool last = !next_component(resolve);

	if (reply->error == ENOENT) {
		is_missing(resolve);
	} else if (reply->error || !is_good(reply)) {
		finish(resolve, reply->error ? reply->error : EIO);
	} else if (S_ISLNK(reply->attr.mode) &&
		   !(last && is_meant(resolve, &reply->attr))) {
		follow(resolve);
	} else if (last) {
		resolve->found.attr = reply->attr;
		exists(resolve);
	} else if (!S_ISDIR(reply->attr.mode)) {
		finish(resolve, ENOTDIR);
	} else {
		walk(resolve);
	}
}

static void look(struct resolve *resolve, files_done_fn *done)
{
	const struct files_request request = {.op = FILES_GETATTR,
					      .path = resolve->found.path};

	errand_ask(&resolve->errand, &request, done);
}

static void have_directory(void *ctx, const struct files_reply *reply)
{
	struct resolve *resolve = ctx;

	resolve->found.attr = reply->attr;
	if (reply->error || !is_good(reply) || !S_ISDIR(reply->attr.mode))
		finish(resolve, reply->error ? reply->error : EIO);
	else
		exists(resolve);
}

/* Go up for each "..", then look at the next component. */
static void walk(struct resolve *resolve)
{
	size_t len;
	int error;

	while ((len = next_component(resolve)) == 2 &&
	       strncmp(resolve->rest, "..", 2) == 0) {
		go_up(&resolve->found);
		drop_component(resolve, len);
	}
	if (!len) {
		look(resolve,
		     have_directory); /* or a directory that a link or ".." led to */
		return;
	}
	error = append(resolve, resolve->rest, len);
	drop_component(resolve, len);
	if (error)
		finish(resolve, error);
	else
		look(resolve, have_component);
}

/* It may be all that there is to know. */
static void have_whole(void *ctx, const struct files_reply *reply)
{
	struct resolve *resolve = ctx;

	if (!reply->error && is_good(reply) && is_meant(resolve, &reply->attr)) {
		resolve->found.attr = reply->attr;
		exists(resolve);
		return;
	}
	resolve->found.path[0] = '\0';
	walk(resolve);
}

/* The path as one, without what means nothing. Return: whether it is one. */
static bool is_plain(struct resolve *resolve)
{
	char *to = resolve->found.path;
	const char *at = resolve->rest;
	size_t used = 0, len;

	for (; *(at += strspn(at, "/")); at += len) {
		len = strcspn(at, "/");
		if (len == 1 && *at == '.')
			continue;
		if (used + (used > 0) + len > FILES_PATH_MAX)
			break;
		if (used)
			to[used++] = '/';
		memcpy(to + used, at, len);
		used += len;
	}
	to[used] = '\0';
	return !*at && files_path_ok(to);
}

static void start(void *ctx, const struct files_reply *reply)
{
	struct resolve *resolve = ctx;

	(void)reply;
	if (strlen(resolve->asked) > FILES_PATH_MAX) {
		finish(resolve, ENAMETOOLONG);
	} else if (is_plain(resolve)) {
		look(resolve, have_whole);
	} else {
		resolve->found.path[0] = '\0';
		walk(resolve);
	}
}

struct resolve *resolve_begin(struct sandbox *sb, const char *path, unsigned how,
			      resolve_fn *done, void *ctx)
{
	struct resolve *resolve = calloc(1, sizeof(*resolve));

	if (!resolve)
		return NULL;
	resolve->how = how;
	resolve->done = done;
	resolve->ctx = ctx;
	path += strspn(path, "/");
	snprintf(resolve->asked, sizeof(resolve->asked), "%s", path);
	strcpy(resolve->rest, resolve->asked);
	errand_init(&resolve->errand, sb, resolve);
	errand_pause(&resolve->errand, start);
	return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
	errand_fini(&resolve->errand);
	free(resolve);
}
