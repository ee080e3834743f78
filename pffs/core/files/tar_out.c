#include "pffs/core/files/tar_out.h"

#include "pffs/core/files/dir_list.h"
#include "pffs/core/files/errand.h"
#include "pffs/core/files/reader.h"
#include "pffs/core/files/tar_locale.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_MAX   2048u   /* more directories are in no path */
#define ENTRIES_MAX 500000u /* that are in memory, of all directories on the way */
#define LINKS_MAX   100000u /* names of files with several, that are remembered */
#define PIECE	    (64u << 10)

/* A directory on the way to where the walk is. */
struct level {
	struct dir_entries entries;
	size_t at;   /* the next one */
	size_t path; /* bytes of the directory's path */
};

struct tar_out {
	struct outlet outlet;
	struct errand errand;
	struct dir_list *listing; /* either of these, or a question of the errand */
	struct reader *reader;
	struct outlet *contents; /* of the file that is read; it is the reader's */
	uint64_t left;		 /* bytes of it */
	struct archive *archive;
	struct archive_entry_linkresolver *links;
	size_t linked; /* names that it has */
	locale_t locale;
	struct level *levels[DEPTH_MAX];
	unsigned depth;
	size_t held;		/* entries of all levels */
	size_t base;		/* bytes of the path that are in no name */
	bool waits;		/* until there is room */
	struct files_attr attr; /* of what the path names */
	char path[FILES_PATH_MAX + 1];
};

static void step(void *ctx, const struct files_reply *reply);

/* From the event loop, so that steps do not pile up on the stack. Whoever is told that
 * something came may close it all. */
static void go_on(struct tar_out *tar)
{
	errand_pause(&tar->errand, step);
	if (tar->outlet.bytes.len)
		tar->outlet.came(tar->outlet.ctx);
}

static void fail(struct tar_out *tar, const struct error *err)
{
	outlet_end(&tar->outlet, err);
}

static void fail_with(struct tar_out *tar, int code)
{
	struct error err;

	error_set(&err, code, "cannot make a tar of /%.200s", tar->path);
	fail(tar, &err);
}

static la_ssize_t take_bytes(struct archive *archive, void *ctx, const void *data,
			     size_t len)
{
	struct tar_out *tar = ctx;

	if (buf_append(&tar->outlet.bytes, data, len) == 0)
		return (la_ssize_t)len;
	archive_set_error(archive, ENOMEM, "no memory");
	return -1;
}

static const char *name_of(const struct tar_out *tar)
{
	return tar->path + tar->base;
}

/* @link: the target of a symbolic link. Return: 0 or a positive errno. */
static int put_header(struct tar_out *tar, const struct files_attr *attr, const char *link)
{
	struct archive_entry *entry = archive_entry_new(), *spare = NULL;
	int r;

	if (!entry)
		return ENOMEM;
	archive_entry_copy_pathname(entry, name_of(tar));
	archive_entry_set_mode(entry, attr->mode);
	archive_entry_set_uid(entry, attr->uid);
	archive_entry_set_gid(entry, attr->gid);
	archive_entry_set_mtime(entry, attr->mtime_ns / 1000000000,
				(long)(attr->mtime_ns % 1000000000));
	archive_entry_set_size(entry, S_ISREG(attr->mode) ? (la_int64_t)attr->size : 0);
	archive_entry_set_nlink(entry, attr->nlink);
	archive_entry_set_ino64(entry, (la_int64_t)attr->ino);
	archive_entry_set_dev(entry, (dev_t)attr->dev);
	if (link)
		archive_entry_copy_symlink(entry, link);
	/* Beyond that each name is a file of its own: the guest says how many there are. */
	if (S_ISREG(attr->mode) && attr->nlink > 1 && tar->linked++ < LINKS_MAX)
		archive_entry_linkify(tar->links, &entry, &spare);
	tar->left = archive_entry_hardlink(entry) || !S_ISREG(attr->mode) ? 0 : attr->size;
	r = archive_write_header(tar->archive, entry);
	archive_entry_free(entry);
	return r < ARCHIVE_WARN ? EIO : 0;
}

/* One more name of a file that is in the tar needs its contents no more. */
static int header(struct tar_out *tar, const struct files_attr *attr, const char *link)
{
	locale_t before = uselocale(tar->locale);
	int error = put_header(tar, attr, link);

	uselocale(before);
	return error;
}

static void header_and_on(struct tar_out *tar, const char *link)
{
	int error = header(tar, &tar->attr, link);

	if (error)
		fail_with(tar, error);
	else
		go_on(tar);
}

static void close_file(struct tar_out *tar)
{
	reader_close(tar->reader);
	tar->reader = NULL;
	tar->contents = NULL;
}

/* Pass on what has come of the file. Return: 0, or -errno at its end. */
static ssize_t pass_on(struct tar_out *tar)
{
	uint8_t piece[PIECE];
	ssize_t n = 0;

	while (!outlet_is_full(&tar->outlet) &&
	       (n = outlet_take(tar->contents, piece, sizeof(piece))) > 0)
		if (archive_write_data(tar->archive, piece, (size_t)n) != n)
			return -EIO;
	tar->waits = n >= 0 && outlet_is_full(&tar->outlet);
	return n < 0 ? n : 0;
}

static void have_contents(void *ctx)
{
	struct tar_out *tar = ctx;
	ssize_t r = tar->waits ? 0 : pass_on(tar);
	struct error err;

	if (r == 0) {
		tar->outlet.came(tar->outlet.ctx);
		return;
	}
	err = tar->contents->err;
	close_file(tar);
	if (r == -ENODATA)
		go_on(tar);
	else if (err.code)
		fail(tar, &err);
	else
		fail_with(tar, EIO);
}

/* What has gone, or become something else, is left out. */
static void have_opened(void *ctx, const struct files_attr *attr, const struct error *err)
{
	struct tar_out *tar = ctx;
	int error;

	if (!attr) {
		close_file(tar);
		if (err->code == -ENOENT || err->code == -EINVAL || err->code == -ELOOP)
			go_on(tar);
		else
			fail(tar, err);
		return;
	}
	error = header(tar, attr, NULL);
	if (error) {
		close_file(tar);
		fail_with(tar, error);
	} else if (tar->left) {
		tar->contents = reader_start(tar->reader, 0, tar->left, have_contents, tar);
	} else {
		close_file(tar);
		go_on(tar);
	}
}

static void have_target(void *ctx, const struct files_reply *reply)
{
	struct tar_out *tar = ctx;
	char target[FILES_PATH_MAX + 1];

	if (reply->error) {
		if (reply->error == ENOENT || reply->error == EINVAL)
			go_on(tar);
		else
			fail_with(tar, reply->error);
	} else if (!reply->data_len || reply->data_len > FILES_PATH_MAX ||
		   memchr(reply->data, '\0', reply->data_len)) {
		fail_with(tar, EIO);
	} else {
		memcpy(target, reply->data, reply->data_len);
		target[reply->data_len] = '\0';
		header_and_on(tar, target);
	}
}

static void leave_level(struct tar_out *tar)
{
	struct level *level = tar->levels[--tar->depth];

	tar->held -= level->entries.count;
	dir_entries_fini(&level->entries);
	free(level);
}

static void have_entries(void *ctx, struct dir_entries *entries, const struct error *err)
{
	struct tar_out *tar = ctx;
	struct level *level;

	tar->listing = NULL;
	if (!entries && tar->depth && (err->code == -ENOENT || err->code == -ENOTDIR)) {
		go_on(tar);
		return;
	}
	if (!entries) {
		fail(tar, err);
		return;
	}
	level = malloc(sizeof(*level));
	if (!level || tar->depth == DEPTH_MAX || tar->held + entries->count > ENTRIES_MAX) {
		free(level);
		fail_with(tar, level ? EFBIG : ENOMEM);
		return;
	}
	*level = (struct level){.entries = *entries, .path = strlen(tar->path)};
	*entries = (struct dir_entries){0};
	tar->held += level->entries.count;
	tar->levels[tar->depth++] = level;
	go_on(tar);
}

static void list(struct tar_out *tar)
{
	tar->listing = dir_list_begin(tar->errand.sb, tar->path, have_entries, tar);
	if (!tar->listing)
		fail_with(tar, ENOMEM);
}

static void enter(struct tar_out *tar)
{
	int error = *name_of(tar) ? header(tar, &tar->attr, NULL) : 0;

	if (error)
		fail_with(tar, error);
	else
		list(tar);
}

static void open_file(struct tar_out *tar)
{
	tar->reader = reader_open(tar->errand.sb, tar->path, have_opened, tar);
	if (!tar->reader)
		fail_with(tar, ENOMEM);
}

static void add(struct tar_out *tar)
{
	const struct files_request readlink = {.op = FILES_READLINK, .path = tar->path};

	switch (tar->attr.mode & S_IFMT) {
	case S_IFDIR:
		enter(tar);
		break;
	case S_IFREG:
		open_file(tar);
		break;
	case S_IFLNK:
		errand_ask(&tar->errand, &readlink, have_target);
		break;
	case S_IFIFO:
		header_and_on(tar, NULL);
		break;
	default:
		go_on(tar);
	}
}

static void finish(struct tar_out *tar)
{
	if (archive_write_close(tar->archive) == ARCHIVE_OK)
		outlet_end(&tar->outlet, NULL);
	else
		fail_with(tar, ENOMEM);
}

/* Return: whether there is one. */
static bool next_entry(struct tar_out *tar)
{
	struct level *level;
	const struct dir_entry *entry;

	while (tar->depth) {
		level = tar->levels[tar->depth - 1];
		if (level->at == level->entries.count) {
			leave_level(tar);
			continue;
		}
		entry = &level->entries.list[level->at++];
		tar->attr = entry->attr;
		if (level->path + 1 + strlen(entry->name) > FILES_PATH_MAX)
			continue; /* it has a name in no request, either */
		snprintf(tar->path + level->path, sizeof(tar->path) - level->path, "%s%s",
			 level->path ? "/" : "", entry->name);
		return true;
	}
	return false;
}

static void step(void *ctx, const struct files_reply *reply)
{
	struct tar_out *tar = ctx;

	(void)reply;
	tar->waits = outlet_is_full(&tar->outlet);
	if (tar->waits)
		return;
	if (tar->contents)
		have_contents(tar);
	else if (next_entry(tar))
		add(tar);
	else
		finish(tar);
}

static void first(void *ctx, const struct files_reply *reply)
{
	(void)reply;
	add(ctx);
}

/* By a step of its own, since who takes is in the middle of that. */
static void wanted(struct outlet *outlet)
{
	struct tar_out *tar = container_of(outlet, struct tar_out, outlet);

	if (tar->waits)
		errand_pause(&tar->errand, step);
	tar->waits = false;
}

static void close_outlet(struct outlet *outlet)
{
	struct tar_out *tar = container_of(outlet, struct tar_out, outlet);

	if (tar->listing)
		dir_list_cancel(tar->listing);
	close_file(tar);
	while (tar->depth)
		leave_level(tar);
	errand_fini(&tar->errand);
	archive_write_free(tar->archive);
	archive_entry_linkresolver_free(tar->links);
	if (tar->locale)
		freelocale(tar->locale);
	buf_fini(&tar->outlet.bytes);
	free(tar);
}

static bool prepare(struct tar_out *tar)
{
	tar->locale = tar_locale();
	tar->archive = archive_write_new();
	tar->links = archive_entry_linkresolver_new();
	if (!tar->locale || !tar->archive || !tar->links)
		return false;
	archive_entry_linkresolver_set_strategy(tar->links,
						ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
	return archive_write_set_format_pax(tar->archive) == ARCHIVE_OK &&
	       archive_write_set_bytes_in_last_block(tar->archive, 1) == ARCHIVE_OK &&
	       archive_write_open(tar->archive, tar, NULL, take_bytes, NULL) == ARCHIVE_OK;
}

struct outlet *tar_out(struct sandbox *sb, const char *path, const struct files_attr *attr,
		       void (*came)(void *ctx), void *ctx)
{
	struct tar_out *tar = calloc(1, sizeof(*tar));
	const char *slash = strrchr(path, '/');

	if (!tar)
		return NULL;
	tar->outlet = (struct outlet){
	    .came = came, .ctx = ctx, .wanted = wanted, .close = close_outlet};
	errand_init(&tar->errand, sb, tar);
	tar->attr = *attr;
	snprintf(tar->path, sizeof(tar->path), "%s", path);
	if (S_ISDIR(attr->mode))
		tar->base = strlen(path) + (*path != '\0');
	else
		tar->base = slash ? (size_t)(slash - path) + 1 : 0;
	if (!prepare(tar)) {
		close_outlet(&tar->outlet);
		return NULL;
	}
	errand_pause(&tar->errand, first);
	return &tar->outlet;
}
