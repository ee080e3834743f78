/*
 * Theory of operation
 *
 * The tree of changes at a run's start is compared with the tree at its end. A file is
 * modified when its inode, its times or anything else of it is another one, which needs
 * no look at contents, save where it came from the image: to copy a file up is no
 * change of it.
 *
 * A kept tree of the last run's end is the next one's beginning if it is certain that
 * nothing came between: no process was left, and no request wrote. Otherwise a tree is
 * taken before the run starts.
 *
 * Times of files are the kernel's clock at its last tick. What a run changes in the
 * very tick in which the file was changed before it would have the same time; so a run
 * starts in another tick than that of the newest change.
 */
#include "guest/files/changes.h"

#include "util/cleanup.h"
#include "wire/agent.h"
#include "wire/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define TICKS_MAX  8 /* of the clock, to wait for the next one */
#define TICK_NS	   2000000
#define EMIT_BYTES (32u << 10)
#define PIECE	   (64u << 10)

struct start {
	struct link link;
	uint32_t stream;
	struct tree tree;
};

void changes_init(struct changes *changes, const struct layers *layers)
{
	*changes = (struct changes){.layers = *layers};
	pthread_mutex_init(&changes->lock, NULL);
	list_init(&changes->starts);
}

static int take_tree(const struct changes *changes, struct tree *tree)
{
	struct buf bytes = {0};
	struct error err;
	int r = tree_walk(&changes->layers, false, NULL, &bytes);

	*tree = (struct tree){0};
	if (r == 0)
		r = tree_parse(tree, &bytes, &err);
	buf_fini(&bytes);
	return r;
}

static int64_t newest_change(const struct tree *tree)
{
	int64_t newest = 0;

	for (size_t i = 0; i < tree->count; i++)
		if (tree->entries[i].now.ctime_ns > newest)
			newest = tree->entries[i].now.ctime_ns;
	return newest;
}

static int64_t tick_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void pass_tick(int64_t tick)
{
	for (int i = 0; i < TICKS_MAX && tick_now() == tick; i++)
		nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
}

static void forget_last(struct changes *changes)
{
	tree_fini(&changes->last);
	changes->has_last = false;
}

static int starting_tree(struct changes *changes, struct tree *tree)
{
	if (!changes->has_last || changes->last_writes != atomic_load(&changes->writes)) {
		forget_last(changes);
		return take_tree(changes, tree);
	}
	*tree = changes->last;
	changes->last = (struct tree){0};
	changes->has_last = false;
	return 0;
}

static struct start *find_start(struct changes *changes, uint32_t stream)
{
	struct start *start;

	list_for_each (start, &changes->starts, struct start, link)
		if (start->stream == stream)
			return start;
	return NULL;
}

static void end_start(struct start *start)
{
	list_del(&start->link);
	tree_fini(&start->tree);
	free(start);
}

void changes_begin(struct changes *changes, uint32_t stream)
{
	struct start *start = calloc(1, sizeof(*start));
	struct start *old;

	pthread_mutex_lock(&changes->lock);
	old = find_start(changes, stream);
	if (old)
		end_start(old);
	if (start && starting_tree(changes, &start->tree) == 0) {
		start->stream = stream;
		list_add_before(&changes->starts, &start->link);
		pass_tick(newest_change(&start->tree));
	} else {
		free(start);
	}
	pthread_mutex_unlock(&changes->lock);
}

static int open_file(int layer, const char *path)
{
	struct open_how how = {
	    .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	return (int)syscall(SYS_openat2, layer, path, &how, sizeof(how));
}

static bool same_bytes(int a, int b)
{
	cleanup_free char *room = malloc(2 * (size_t)PIECE);
	ssize_t n, m;

	do {
		n = room ? read(a, room, PIECE) : -1;
		m = n < 0 ? -1 : read(b, room + PIECE, PIECE);
		if (n < 0 || n != m || memcmp(room, room + PIECE, (size_t)n) != 0)
			return false;
	} while (n);
	return true;
}

/* A file that was copied up, and has the size and the time that it had. */
static bool same_as_image(const struct changes *changes, const char *path)
{
	cleanup_close int upper = open_file(changes->layers.upper, path);
	cleanup_close int lower = open_file(changes->layers.lower, path);

	return upper >= 0 && lower >= 0 && same_bytes(upper, lower);
}

static bool same_target(const struct tree_state *a, const struct tree_state *b)
{
	return !a->target || strcmp(a->target, b->target) == 0;
}

/* A new name of a file changes its ctime, too. */
static bool same_file(const struct tree_state *a, const struct tree_state *b)
{
	return a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       (a->ctime_ns == b->ctime_ns || a->nlink != b->nlink);
}

static bool is_modified(const struct changes *changes, const struct tree_pair *pair)
{
	const struct tree_state *from = pair->from, *to = pair->to;

	if (from->mode != to->mode || from->uid != to->uid || from->gid != to->gid ||
	    from->rdev != to->rdev || !same_target(from, to))
		return true;
	if (S_ISDIR(to->mode))
		return false;
	if (!pair->from_image)
		return !same_file(from, to);
	if (!S_ISREG(to->mode))
		return false;
	return from->size != to->size || from->mtime_ns != to->mtime_ns ||
	       !same_as_image(changes, pair->path);
}

struct emitter {
	changes_emit_fn *fn;
	void *ctx;
	uint8_t room[EMIT_BYTES + 1 + 4 + FILES_PATH_MAX];
	struct cursor c;
};

static void flush(struct emitter *out)
{
	out->fn(out->ctx, out->room, sizeof(out->room) - cursor_left(&out->c));
	out->c = cursor_into(out->room, sizeof(out->room));
}

static void emit(struct emitter *out, enum agent_change change, const char *path)
{
	cursor_put_u8(&out->c, (uint8_t)change);
	cursor_put_bytes(&out->c, path, strlen(path));
	if (sizeof(out->room) - cursor_left(&out->c) >= EMIT_BYTES)
		flush(out);
}

/* In a frame of its own. */
static void emit_last(struct emitter *out, enum agent_change change)
{
	if (cursor_left(&out->c) < sizeof(out->room))
		flush(out);
	cursor_put_u8(&out->c, (uint8_t)change);
	flush(out);
}

static void compare(const struct changes *changes, const struct tree *from,
		    const struct tree *to, struct emitter *out)
{
	struct tree_pairs pairs = {.from = from, .to = to};
	struct tree_pair pair;

	while (tree_pair_next(&pairs, &pair)) {
		if (pair.from->mode && !pair.to->mode)
			emit(out, AGENT_DELETED, pair.path);
		else if (!pair.from->mode && pair.to->mode)
			emit(out, AGENT_CREATED, pair.path);
		else if (pair.from->mode && is_modified(changes, &pair))
			emit(out, AGENT_MODIFIED, pair.path);
	}
	emit_last(out, AGENT_CHANGES_END);
}

static void end(struct changes *changes, struct start *start, bool quiet,
		struct emitter *out)
{
	unsigned writes = atomic_load(&changes->writes);
	struct tree tree;

	if (!start || take_tree(changes, &tree) < 0) {
		emit_last(out, AGENT_CHANGES_UNKNOWN);
		return;
	}
	compare(changes, &start->tree, &tree, out);
	if (quiet) {
		changes->last = tree;
		changes->last_writes = writes;
		changes->has_last = true;
	} else {
		tree_fini(&tree);
	}
}

void changes_end(struct changes *changes, uint32_t stream, bool quiet, changes_emit_fn *fn,
		 void *ctx)
{
	static const uint8_t unknown = AGENT_CHANGES_UNKNOWN;
	cleanup_free struct emitter *out = malloc(sizeof(*out));
	struct start *start;

	pthread_mutex_lock(&changes->lock);
	start = find_start(changes, stream);
	forget_last(changes);
	if (out) {
		out->fn = fn;
		out->ctx = ctx;
		out->c = cursor_into(out->room, sizeof(out->room));
		end(changes, start, quiet, out);
	} else {
		fn(ctx, &unknown, 1);
	}
	if (start)
		end_start(start);
	pthread_mutex_unlock(&changes->lock);
}

void changes_fini(struct changes *changes)
{
	struct start *start;

	list_for_each (start, &changes->starts, struct start, link)
		end_start(start);
	forget_last(changes);
}
