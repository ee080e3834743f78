#include "pffs/core/files/tar_in.h"

#include "pffs/core/files/errand.h"
#include "pffs/core/files/make_dirs.h"
#include "pffs/core/files/tar_parse.h"
#include "pffs/core/files/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TIMES_MAX (64u << 20) /* bytes of directories whose times are to be set */

struct tar_in {
	struct errand errand;
	struct tar_parse *parse;
	struct make_dirs *dirs; /* one of these at a time, or a question of the errand */
	struct writer *writer;
	bool writing;		  /* the file is complete, and on its way */
	bool full;		  /* who puts waits */
	size_t base;		  /* bytes of the path of the directory */
	struct tar_entry entry;	  /* that is being made; without its names */
	uint8_t op;		  /* by which it is made */
	bool made_dirs, replaced; /* for it, already */
	struct buf times; /* int64_t and a path, NUL, of each directory; then its size_t */
	void (*room)(void *ctx);
	tar_in_fn *done;
	void *ctx;
	char path[FILES_PATH_MAX + 1]; /* of the entry */
	char link[FILES_PATH_MAX + 1]; /* what it links to */
};

static void next(struct tar_in *tar);
static void make(struct tar_in *tar);

void tar_in_abort(struct tar_in *tar)
{
	if (tar->writer)
		writer_abort(tar->writer);
	if (tar->dirs)
		make_dirs_cancel(tar->dirs);
	if (tar->parse)
		tar_parse_end(tar->parse);
	errand_fini(&tar->errand);
	buf_fini(&tar->times);
	free(tar);
}

static void finish(struct tar_in *tar, const struct error *err)
{
	tar_in_fn *done = tar->done;
	void *ctx = tar->ctx;

	tar_in_abort(tar);
	done(ctx, err);
}

static void fail(struct tar_in *tar, int code)
{
	struct error err;

	error_set(&err, code, "cannot take out /%.200s", tar->path);
	finish(tar, &err);
}

/* Append @name to the directory's path. Return: 0 or a positive errno. */
static int place(const struct tar_in *tar, const char *name, char to[FILES_PATH_MAX + 1])
{
	size_t used = tar->base, len;

	memmove(to, tar->path, used);
	for (; *(name += strspn(name, "/")); name += len) {
		len = strcspn(name, "/");
		if (len == 1 && *name == '.')
			continue;
		if (len == 2 && strncmp(name, "..", 2) == 0)
			return EINVAL;
		if (len > FILES_NAME_MAX || used + (used > 0) + len > FILES_PATH_MAX)
			return ENAMETOOLONG;
		if (used)
			to[used++] = '/';
		memcpy(to + used, name, len);
		used += len;
	}
	to[used] = '\0';
	return 0;
}

static void step(void *ctx, const struct files_reply *reply)
{
	(void)reply;
	next(ctx);
}

/* From the event loop, so that entries do not pile up on the stack. */
static void go_on(struct tar_in *tar)
{
	errand_pause(&tar->errand, step);
}

/* What can only be told at the end. */
static int keep_time(struct tar_in *tar)
{
	size_t len = strlen(tar->path) + 1, whole = sizeof(int64_t) + len;

	if (tar->times.len > TIMES_MAX)
		return EFBIG;
	if (buf_append(&tar->times, &tar->entry.mtime_ns, sizeof(int64_t)) < 0 ||
	    buf_append(&tar->times, tar->path, len) < 0 ||
	    buf_append(&tar->times, &whole, sizeof(whole)) < 0)
		return ENOMEM;
	return 0;
}

/* The last directory first. One that has gone, or does not let it, keeps its own. */
static void set_times(void *ctx, const struct files_reply *reply)
{
	struct tar_in *tar = ctx;
	struct files_request request = {.op = FILES_SETATTR, .flags = FILES_SET_MTIME};
	const uint8_t *at;
	size_t whole;

	(void)reply;
	if (!tar->times.len) {
		finish(tar, NULL);
		return;
	}
	at = buf_peek(&tar->times) + tar->times.len - sizeof(whole);
	memcpy(&whole, at, sizeof(whole));
	at -= whole;
	memcpy(&request.mtime_ns, at, sizeof(request.mtime_ns));
	snprintf(tar->path, sizeof(tar->path), "%s",
		 (const char *)at + sizeof(request.mtime_ns));
	request.path = tar->path;
	tar->times.len -= whole + sizeof(whole);
	errand_ask(&tar->errand, &request, set_times);
}

static void have_set(void *ctx, const struct files_reply *reply)
{
	struct tar_in *tar = ctx;
	int error = reply->error ? reply->error : keep_time(tar);

	if (error)
		fail(tar, error);
	else
		go_on(tar);
}

static void set_directory(struct tar_in *tar)
{
	const struct files_request request = {
	    .op = FILES_SETATTR,
	    .flags = FILES_SET_MODE | FILES_SET_UID | FILES_SET_GID,
	    .mode = tar->entry.mode & 07777,
	    .uid = tar->entry.uid,
	    .gid = tar->entry.gid,
	    .path = tar->path,
	};

	errand_ask(&tar->errand, &request, have_set);
}

static void have_removed(void *ctx, const struct files_reply *reply)
{
	struct tar_in *tar = ctx;

	if (reply->error && reply->error != ENOENT)
		fail(tar, reply->error);
	else
		make(tar);
}

/* Something has the name; but no directory goes for what is none. */
static void replace(struct tar_in *tar)
{
	const struct files_request request = {.op = FILES_UNLINK, .path = tar->path};

	tar->replaced = true;
	errand_ask(&tar->errand, &request, have_removed);
}

static void have_looked(void *ctx, const struct files_reply *reply)
{
	struct tar_in *tar = ctx;

	if (reply->error || !reply->has_attr)
		fail(tar, reply->error ? reply->error : EIO);
	else if (S_ISDIR(reply->attr.mode))
		set_directory(tar);
	else
		replace(tar);
}

static void have_dirs(void *ctx, const struct error *err)
{
	struct tar_in *tar = ctx;

	tar->dirs = NULL;
	if (err)
		finish(tar, err);
	else
		make(tar);
}

static void make_missing(struct tar_in *tar)
{
	const char *slash = strrchr(tar->path, '/');

	tar->made_dirs = true;
	tar->dirs = make_dirs_begin(tar->errand.sb, tar->path,
				    slash ? (size_t)(slash - tar->path) : 0, tar->base,
				    have_dirs, tar);
	if (!tar->dirs)
		fail(tar, ENOMEM);
}

static void have_made(void *ctx, const struct files_reply *reply)
{
	struct tar_in *tar = ctx;
	const struct files_request look = {.op = FILES_GETATTR, .path = tar->path};

	if (reply->error == EEXIST && tar->op == FILES_MKDIR && !tar->replaced)
		errand_ask(&tar->errand, &look, have_looked);
	else if (reply->error == EEXIST && !tar->replaced)
		replace(tar);
	else if (reply->error == ENOENT && !tar->made_dirs)
		make_missing(tar);
	else if (reply->error)
		fail(tar, reply->error);
	else if (tar->op == FILES_MKDIR)
		set_directory(tar);
	else
		go_on(tar);
}

static void make(struct tar_in *tar)
{
	bool links = tar->op == FILES_LINK;
	const struct files_request request = {
	    .op = tar->op,
	    .mode = tar->op == FILES_MKNOD ? tar->entry.mode : tar->entry.mode & 07777,
	    .uid = tar->entry.uid,
	    .gid = tar->entry.gid,
	    .path = links ? tar->link : tar->path,
	    .path2 = links			? tar->path
		     : tar->op == FILES_SYMLINK ? tar->link
						: NULL,
	};

	errand_ask(&tar->errand, &request, have_made);
}

static void have_written(void *ctx, const struct error *err)
{
	struct tar_in *tar = ctx;

	tar->writer = NULL;
	tar->writing = false;
	if (err)
		finish(tar, err);
	else
		go_on(tar);
}

static void have_room(void *ctx)
{
	next(ctx);
}

static void begin_file(struct tar_in *tar)
{
	const struct writer_order order = {
	    .path = tar->path,
	    .there = tar->base,
	    .mode = tar->entry.mode,
	    .uid = tar->entry.uid,
	    .gid = tar->entry.gid,
	    .has_mtime = true,
	    .mtime_ns = tar->entry.mtime_ns,
	};

	tar->writer = writer_begin(tar->errand.sb, &order, have_room, have_written, tar);
	if (tar->writer)
		go_on(tar);
	else
		fail(tar, ENOMEM);
}

static uint8_t op_of(const struct tar_entry *entry)
{
	if (entry->hardlink)
		return FILES_LINK;
	switch (entry->mode & S_IFMT) {
	case S_IFREG:
		return FILES_OPEN;
	case S_IFDIR:
		return FILES_MKDIR;
	case S_IFLNK:
		return FILES_SYMLINK;
	case S_IFIFO:
		return FILES_MKNOD;
	default:
		return 0; /* it is left out */
	}
}

/* Return: 0 or a positive errno. */
static int take_entry(struct tar_in *tar, const struct tar_entry *entry)
{
	int error = place(tar, entry->name, tar->path);

	tar->entry = *entry;
	tar->op = op_of(entry);
	tar->made_dirs = tar->replaced = false;
	if (!error && tar->op == FILES_LINK)
		return place(tar, entry->link, tar->link);
	if (!error && strlen(entry->link) > FILES_PATH_MAX)
		return ENAMETOOLONG;
	snprintf(tar->link, sizeof(tar->link), "%s", entry->link);
	return error;
}

/* The directory itself, as "./", stays as it is. */
static void begin_entry(struct tar_in *tar, int error)
{
	bool itself = strlen(tar->path) == tar->base;
	struct error err;

	if (error == EINVAL) {
		error_say(&err, EINVAL, "a name in the tar leads out of the directory");
		finish(tar, &err);
	} else if (error)
		fail(tar, error);
	else if (!tar->op || (itself && tar->op == FILES_MKDIR) ||
		 (tar->op == FILES_LINK && strcmp(tar->link, tar->path) == 0))
		go_on(tar);
	else if (itself)
		fail(tar, EISDIR);
	else if (tar->op == FILES_OPEN)
		begin_file(tar);
	else
		make(tar);
}

static void end_by(struct tar_in *tar, const struct tar_record *record)
{
	struct error err;

	if (record->kind == TAR_END) {
		set_times(tar, NULL);
		return;
	}
	error_say(&err, EINVAL, "this is no tar that can be taken out: %.200s",
		  (const char *)record->data);
	finish(tar, &err);
}

/* Data of what is no file are nobody's. Return: whether it is to go on. */
static bool take_data(struct tar_in *tar, const struct tar_record *record)
{
	int r = 0;

	if (tar->writer && writer_is_full(tar->writer))
		return false;
	if (tar->writer)
		r = writer_put(tar->writer, record->data, record->len);
	tar_parse_drop(tar->parse);
	if (r < 0)
		fail(tar, ENOMEM);
	return r == 0;
}

static bool is_occupied(const struct tar_in *tar)
{
	return tar->dirs || tar->writing || errand_asks(&tar->errand);
}

static void next(struct tar_in *tar)
{
	struct tar_record record;
	int error;

	while (!is_occupied(tar) && tar_parse_peek(tar->parse, &record)) {
		if (record.kind == TAR_DATA) {
			if (!take_data(tar, &record))
				return;
			continue;
		}
		if (tar->writer) {
			tar->writing = true;
			writer_end(tar->writer);
			return;
		}
		if (record.kind != TAR_ENTRY) {
			end_by(tar, &record);
			return;
		}
		error = take_entry(tar, &record.entry);
		tar_parse_drop(tar->parse);
		begin_entry(tar, error);
		return;
	}
}

static void came(void *ctx)
{
	struct tar_in *tar = ctx;

	if (tar->full && !tar_parse_is_full(tar->parse)) {
		tar->full = false;
		tar->room(tar->ctx);
	}
	next(tar);
}

struct tar_in *tar_in_begin(struct sandbox *sb, const char *path, void (*room)(void *ctx),
			    tar_in_fn *done, void *ctx, struct error *err)
{
	struct tar_in *tar = calloc(1, sizeof(*tar));

	if (!tar) {
		error_set(err, ENOMEM, "cannot take out a tar");
		return NULL;
	}
	tar->room = room;
	tar->done = done;
	tar->ctx = ctx;
	tar->base = strlen(path);
	snprintf(tar->path, sizeof(tar->path), "%s", path);
	errand_init(&tar->errand, sb, tar);
	tar->parse = tar_parse_begin(sb->core->loop, came, tar, err);
	if (tar->parse)
		return tar;
	tar_in_abort(tar);
	return NULL;
}

int tar_in_put(struct tar_in *tar, const void *data, size_t len)
{
	int r = tar_parse_put(tar->parse, data, len);

	tar->full = tar_parse_is_full(tar->parse);
	return r;
}

bool tar_in_is_full(const struct tar_in *tar)
{
	return tar_parse_is_full(tar->parse);
}

void tar_in_eof(struct tar_in *tar)
{
	tar_parse_eof(tar->parse);
}
