/*
 * Theory of operation
 *
 * overlayfs keeps in its upper layer what differs from the lower one, name by name: a
 * file of its own, or a character device 0:0, a whiteout, where a name of the lower
 * layer is gone. A directory that both have is merged, unless the upper one is opaque,
 * by an extended attribute: then all of the lower one is hidden, at any depth.
 * Directories that are renamed and files of which only the metadata is copied up are
 * features that are off in our mount, so that they need not be understood here.
 *
 * The walk reads the layers themselves and not the overlay. Both are read through
 * descriptors by single names without following links, so what the guest renames
 * meanwhile cannot lead it elsewhere. The path is in one buffer; a level of the
 * recursion takes its larger parts from the heap, for the stack is a thread's.
 *
 * Where only some paths are wanted, a directory's names are those that are on the way to
 * one, and all that it has if it was picked for these. Everything else is the same.
 */
#include "guest/files/tree.h"

#include "util/cleanup.h"
#include "wire/files.h"
#include "wire/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define OPAQUE	   "trusted.overlay.opaque"
#define NAMES_ROOM (16u << 10)

struct walk {
	struct buf *out;
	const struct picks *picks; /* NULL: all */
	bool image;
	size_t len; /* of the path */
	char path[FILES_PATH_MAX + 1];
	char targets[2][FILES_PATH_MAX + 1]; /* of a link now, and of one below */
};

/* A directory of both layers; -1 where one has none. */
struct place {
	int upper, lower;
	bool hidden; /* nothing of the lower one shows */
	enum pick_how how;
	size_t first; /* pick that may be below it, and those that follow */
};

typedef int name_fn(struct walk *w, const struct place *at, const char *name);

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool read_target(int dir, const char *name, char target[FILES_PATH_MAX + 1])
{
	ssize_t n = readlinkat(dir, name, target, FILES_PATH_MAX);

	if (n < 0)
		return false;
	target[n] = '\0';
	return true;
}

/* Without a directory, or without the name in it, there is nothing. */
static struct tree_state look(int dir, const char *name, char *target)
{
	struct tree_state state = {0};
	struct stat st;

	if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (S_ISLNK(st.st_mode) && !read_target(dir, name, target)))
		return state;
	state = (struct tree_state){
	    .mode = st.st_mode,
	    .nlink = (uint32_t)st.st_nlink,
	    .uid = st.st_uid,
	    .gid = st.st_gid,
	    .rdev = (uint32_t)st.st_rdev,
	    .ino = st.st_ino,
	    .size = (uint64_t)st.st_size,
	    .mtime_ns = ns_of(st.st_mtim),
	    .ctime_ns = ns_of(st.st_ctim),
	    .target = S_ISLNK(st.st_mode) ? target : NULL,
	};
	return state;
}

static int open_dir(int dir, const char *name)
{
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Add @name to the path. Return: the length before, or -1 when it is too long. */
static ssize_t enter(struct walk *w, const char *name)
{
	size_t before = w->len, len = strlen(name);

	if (before + len + 1 > FILES_PATH_MAX)
		return -1;
	if (before)
		w->path[w->len++] = '/';
	memcpy(w->path + w->len, name, len + 1);
	w->len += len;
	return (ssize_t)before;
}

static void leave(struct walk *w, ssize_t before)
{
	w->len = (size_t)before;
	w->path[before] = '\0';
}

/* Call @fn for @name, with the path of that name, unless that would be too long. */
static int visit(struct walk *w, const struct place *at, const char *name, name_fn *fn)
{
	ssize_t before = enter(w, name);
	int r;

	if (before < 0)
		return 0;
	r = fn(w, at, name);
	leave(w, before);
	return r;
}

static int each_of(struct walk *w, const struct place *at, const char *names, ssize_t len,
		   name_fn *fn)
{
	int r = 0;

	while (len > 0 && r == 0) {
		const struct dirent64 *entry = (const struct dirent64 *)(const void *)names;
		const char *name = entry->d_name;

		names += entry->d_reclen;
		len -= entry->d_reclen;
		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			r = visit(w, at, name, fn);
	}
	return r;
}

/* A pick below the directory that the path leads to. Return: what its path goes on with
 * from there, or NULL. */
static const char *rest_of_pick(const struct walk *w, size_t i)
{
	const char *path = i < w->picks->count ? w->picks->list[i].path : NULL;

	if (!path || strncmp(path, w->path, w->len) != 0)
		return NULL;
	if (!w->len)
		return *path ? path : NULL;
	return path[w->len] == '/' ? path + w->len + 1 : NULL;
}

/* What is wanted of the directory that the path leads to, in @at. Return: whether
 * anything is. */
static bool pick(const struct walk *w, const struct place *at, struct place *place)
{
	const struct picks *picks = w->picks;
	size_t i;

	place->how = PICK_ALL;
	if (!picks || at->how == PICK_ALL)
		return true;
	i = picks_at(picks, w->path);
	place->how = PICK_NAME;
	if (i < picks->count && strcmp(picks->list[i].path, w->path) == 0)
		place->how = picks->list[i++].how;
	place->first = i;
	return place->how != PICK_NAME || rest_of_pick(w, i);
}

static bool is_there(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The first behind @i that is not of the name @name. */
static size_t next_name(const struct walk *w, size_t i, const char *name, size_t len)
{
	const char *rest;

	do
		rest = rest_of_pick(w, ++i);
	while (rest && strncmp(rest, name, len) == 0 && (!rest[len] || rest[len] == '/'));
	return i;
}

/* Likewise for each name that a pick leads to. */
static int each_pick(struct walk *w, const struct place *at, int dir, name_fn *fn)
{
	const char *rest;
	int r = 0;

	for (size_t i = at->first; r == 0 && (rest = rest_of_pick(w, i));) {
		size_t len = strcspn(rest, "/");
		char name[FILES_NAME_MAX + 1] = "";

		memcpy(name, rest, len);
		i = next_name(w, i, rest, len);
		if (at->how == PICK_NAMES && is_there(dir, name))
			continue; /* each_name() has had it */
		r = visit(w, at, name, fn);
	}
	return r;
}

/* Call @fn for each name in @dir, with the path of that name. */
static int each_in(struct walk *w, const struct place *at, int dir, name_fn *fn)
{
	cleanup_free char *names = malloc(NAMES_ROOM);
	ssize_t n = 0;
	int r = names ? 0 : -ENOMEM;

	while (r == 0 && (n = getdents64(dir, names, NAMES_ROOM)) > 0)
		r = each_of(w, at, names, n, fn);
	return n < 0 && errno != ENOENT ? -errno : r;
}

/* For each that is wanted. */
static int each_name(struct walk *w, const struct place *at, int dir, name_fn *fn)
{
	int r = at->how == PICK_NAME ? 0 : each_in(w, at, dir, fn);

	return r < 0 || at->how == PICK_ALL ? r : each_pick(w, at, dir, fn);
}

static int put(struct walk *w, struct tree_state now, struct tree_state below)
{
	if (w->out->len > TREE_MAX)
		return -EFBIG;
	return tree_put(w->out, &(struct tree_entry){w->path, now, below});
}

/* All of the lower layer from here on. */
static int image_name(struct walk *w, const struct place *at, const char *name)
{
	const struct tree_state nothing = {0};
	struct tree_state state = look(at->lower, name, w->targets[1]);
	struct place place = {.upper = -1, .hidden = true};
	cleanup_close int dir = -1;
	int r;

	if (!state.mode)
		return 0;
	r = w->image ? put(w, state, nothing) : put(w, nothing, state);
	if (r < 0 || !S_ISDIR(state.mode) || !pick(w, at, &place))
		return r;
	dir = place.lower = open_dir(at->lower, name);
	if (dir < 0)
		return -errno;
	return each_name(w, &place, dir, image_name);
}

static int walk_place(struct walk *w, const struct place *at);

static bool is_opaque(int dir)
{
	char value;

	return fgetxattr(dir, OPAQUE, &value, 1) == 1 && value == 'y';
}

/* A directory of the upper layer, and what the lower one has there. */
static int upper_dir(struct walk *w, const struct place *at, const char *name, bool lower)
{
	cleanup_close int upper = open_dir(at->upper, name);
	cleanup_close int below = lower ? open_dir(at->lower, name) : -1;
	struct place place = {.upper = upper, .lower = below, .hidden = at->hidden};

	if (!pick(w, at, &place))
		return 0;
	if (upper < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
	if (lower && below < 0)
		return -errno;
	if (lower && is_opaque(upper))
		place.hidden = true;
	return walk_place(w, &place);
}

/* A directory of the lower layer that is gone, or is none any more. */
static int gone_dir(struct walk *w, const struct place *at, const char *name)
{
	cleanup_close int dir = open_dir(at->lower, name);
	struct place place = {.upper = -1, .lower = dir, .hidden = true};

	if (dir < 0)
		return -errno;
	return pick(w, at, &place) ? each_name(w, &place, dir, image_name) : 0;
}

static bool is_whiteout(const struct tree_state *st)
{
	return S_ISCHR(st->mode) && st->rdev == 0;
}

static bool same_dirs(const struct tree_state *a, const struct tree_state *b)
{
	return S_ISDIR(a->mode) && a->mode == b->mode && a->uid == b->uid &&
	       a->gid == b->gid;
}

static int upper_name(struct walk *w, const struct place *at, const char *name)
{
	struct tree_state now = look(at->upper, name, w->targets[0]);
	struct tree_state below = look(at->lower, name, w->targets[1]);
	int r = 0;

	if (!now.mode)
		return 0; /* it has just gone */
	if (is_whiteout(&now))
		now = (struct tree_state){0};
	if ((now.mode || below.mode) && (at->how != PICK_ALL || !same_dirs(&now, &below)))
		r = put(w, now, below);
	if (r == 0 && S_ISDIR(now.mode))
		return upper_dir(w, at, name, S_ISDIR(below.mode));
	if (r == 0 && S_ISDIR(below.mode))
		return gone_dir(w, at, name);
	return r;
}

/* What the lower layer has in a directory that hides it. */
static int hidden_name(struct walk *w, const struct place *at, const char *name)
{
	if (is_there(at->upper, name))
		return 0; /* upper_name() has seen it */
	return image_name(w, at, name);
}

static int walk_place(struct walk *w, const struct place *at)
{
	int r = each_name(w, at, at->upper, upper_name);

	if (r == 0 && at->hidden && at->lower >= 0)
		r = each_name(w, at, at->lower, hidden_name);
	return r;
}

int tree_walk(const struct layers *layers, bool image, const struct picks *picks,
	      struct buf *out)
{
	cleanup_free struct walk *w = calloc(1, sizeof(*w));
	cleanup_close int upper = open_dir(layers->upper, ".");
	cleanup_close int lower = open_dir(layers->lower, ".");
	struct place root = {.upper = upper, .lower = lower};

	if (!w)
		return -ENOMEM;
	w->out = out;
	w->image = image;
	w->picks = picks;
	pick(w, &(struct place){0}, &root);
	if (image)
		return lower < 0 ? -EBADF : each_name(w, &root, lower, image_name);
	return upper < 0 ? -EBADF : walk_place(w, &root);
}
