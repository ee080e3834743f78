#include "wire/tree.h"

#include "wire/cursor.h"
#include "wire/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HAS_NOW	  1u
#define HAS_BELOW 2u

#define STATE_SIZE  (5 * 4 + 4 * 8)
#define STRING_SIZE (4 + FILES_PATH_MAX + 1)
#define ENTRY_SIZE  (1 + STRING_SIZE + 2 * (STATE_SIZE + STRING_SIZE))

/* With the NUL, so that a tree can point at it. */
static void put_string(struct cursor *c, const char *text)
{
	cursor_put_bytes(c, text, strlen(text) + 1);
}

static void put_state(struct cursor *c, const struct tree_state *st)
{
	if (!st->mode)
		return;
	cursor_put_u32(c, st->mode);
	cursor_put_u32(c, st->nlink);
	cursor_put_u32(c, st->uid);
	cursor_put_u32(c, st->gid);
	cursor_put_u32(c, st->rdev);
	cursor_put_u64(c, st->ino);
	cursor_put_u64(c, st->size);
	cursor_put_u64(c, (uint64_t)st->mtime_ns);
	cursor_put_u64(c, (uint64_t)st->ctime_ns);
	if (S_ISLNK(st->mode))
		put_string(c, st->target);
}

int tree_put(struct buf *out, const struct tree_entry *entry)
{
	uint8_t room[ENTRY_SIZE];
	struct cursor c = cursor_into(room, sizeof(room));

	cursor_put_u8(&c, (entry->now.mode ? HAS_NOW : 0) |
			      (entry->below.mode ? HAS_BELOW : 0));
	put_string(&c, entry->path);
	put_state(&c, &entry->now);
	put_state(&c, &entry->below);
	return buf_append(out, room, sizeof(room) - cursor_left(&c));
}

/* Return: a C string in place; NULL, and an overflow, when it is none. */
static const char *get_string(struct cursor *c)
{
	uint32_t len = cursor_get_u32(c);
	const char *text = len && len <= FILES_PATH_MAX + 1 ? cursor_get_raw(c, len) : NULL;

	if (text && strnlen(text, len) == len - 1)
		return text;
	c->overflow = true;
	return NULL;
}

static bool is_type(uint32_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) ||
	       S_ISSOCK(mode) || S_ISCHR(mode) || S_ISBLK(mode);
}

static void get_state(struct cursor *c, struct tree_state *st)
{
	st->mode = cursor_get_u32(c);
	st->nlink = cursor_get_u32(c);
	st->uid = cursor_get_u32(c);
	st->gid = cursor_get_u32(c);
	st->rdev = cursor_get_u32(c);
	st->ino = cursor_get_u64(c);
	st->size = cursor_get_u64(c);
	st->mtime_ns = (int64_t)cursor_get_u64(c);
	st->ctime_ns = (int64_t)cursor_get_u64(c);
	if (S_ISLNK(st->mode))
		st->target = get_string(c);
	if (!is_type(st->mode))
		c->overflow = true;
}

static bool get_entry(struct cursor *c, struct tree_entry *entry)
{
	uint8_t has = cursor_get_u8(c);

	*entry = (struct tree_entry){.path = get_string(c)};
	if (has & HAS_NOW)
		get_state(c, &entry->now);
	if (has & HAS_BELOW)
		get_state(c, &entry->below);
	return !c->overflow && has && has <= (HAS_NOW | HAS_BELOW) && entry->path &&
	       *entry->path && files_path_ok(entry->path);
}

/* Return: 0, -ENOMEM, -EFBIG, or -EPROTO. */
static int add_entry(struct tree *tree, size_t *room, struct cursor *c)
{
	struct tree_entry *grown;
	size_t wanted = *room ? 2 * *room : 64;

	if (tree->count == TREE_ENTRIES_MAX)
		return -EFBIG;
	if (tree->count == *room) {
		grown = reallocarray(tree->entries, wanted, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		tree->entries = grown;
		*room = wanted;
	}
	return get_entry(c, &tree->entries[tree->count++]) ? 0 : -EPROTO;
}

int tree_path_compare(const char *a, const char *b)
{
	int x, y;

	while (*a && *a == *b) {
		a++;
		b++;
	}
	/* A slash sorts before all that a name can have. */
	x = *a == '/' ? 1 : *a ? (unsigned char)*a + 1 : 0;
	y = *b == '/' ? 1 : *b ? (unsigned char)*b + 1 : 0;
	return x - y;
}

bool tree_path_is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && (!len || !path[len] || path[len] == '/');
}

static int compare(const void *a, const void *b)
{
	return tree_path_compare(((const struct tree_entry *)a)->path,
				 ((const struct tree_entry *)b)->path);
}

static bool is_sorted(const struct tree *tree)
{
	for (size_t i = 1; i < tree->count; i++)
		if (compare(&tree->entries[i - 1], &tree->entries[i]) >= 0)
			return false;
	return true;
}

static int sort(struct tree *tree)
{
	if (!is_sorted(tree))
		qsort(tree->entries, tree->count, sizeof(*tree->entries), compare);
	for (size_t i = 1; i < tree->count; i++)
		if (compare(&tree->entries[i - 1], &tree->entries[i]) == 0)
			return -EPROTO;
	return 0;
}

int tree_parse(struct tree *tree, struct buf *bytes, struct error *err)
{
	struct cursor c = cursor_over(buf_peek(bytes), bytes->len);
	size_t room = 0;
	int r = 0;

	*tree = (struct tree){.bytes = *bytes};
	*bytes = (struct buf){0};
	while (r == 0 && cursor_left(&c))
		r = add_entry(tree, &room, &c);
	if (r == 0)
		r = sort(tree);
	if (r == 0)
		return 0;
	tree_fini(tree);
	if (r == -ENOMEM)
		return error_say(err, ENOMEM, "no memory for a list of the files");
	if (r == -EFBIG)
		return error_say(err, EFBIG, "a list of the files has more than %u",
				 TREE_ENTRIES_MAX);
	return error_say(err, EPROTO, "the guest's list of its files is malformed");
}

void tree_fini(struct tree *tree)
{
	buf_fini(&tree->bytes);
	free(tree->entries);
	*tree = (struct tree){0};
}

const struct tree_entry *tree_find(const struct tree *tree, const char *path)
{
	const struct tree_entry key = {.path = path};

	if (!tree->count)
		return NULL;
	return bsearch(&key, tree->entries, tree->count, sizeof(key), compare);
}

bool tree_pair_next(struct tree_pairs *pairs, struct tree_pair *pair)
{
	const struct tree *from = pairs->from, *to = pairs->to;
	const struct tree_entry *a =
	    pairs->i < from->count ? &from->entries[pairs->i] : NULL;
	const struct tree_entry *b = pairs->j < to->count ? &to->entries[pairs->j] : NULL;
	int order = !a ? 1 : !b ? -1 : compare(a, b);

	if (!a && !b)
		return false;
	pairs->i += order <= 0;
	pairs->j += order >= 0;
	*pair = (struct tree_pair){
	    .path = order <= 0 ? a->path : b->path,
	    .from = order <= 0 ? &a->now : &b->below,
	    .to = order >= 0 ? &b->now : &a->below,
	    .from_image = order > 0,
	    .to_image = order < 0,
	};
	return true;
}
