/*
 * What cannot be in one tree together, once each path of a merge is decided by itself:
 * directories that go or have gone, and what is to be in them.
 */
#include "pffs/core/merge/merge3.h"

#include "wire/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int compare_items(const void *a, const void *b)
{
	return tree_path_compare(((const struct merge3_item *)a)->path,
				 ((const struct merge3_item *)b)->path);
}

/* Directories that are looked for; many more than there are, where a guest tells the truth:
 * what stands together has them in common. */
#define LOOKS_MAX 1000000u

static struct merge3_item *find_item(const struct merge3 *merge, const char *path)
{
	const struct merge3_item key = {.path = path};

	return bsearch(&key, merge->items, merge->sorted, sizeof(key), compare_items);
}

static bool is_inside(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && path[len] == '/';
}

/* A directory that is to go stays as long as something does in it. */
static void something_stays(const struct merge3 *merge, struct merge3_item *item)
{
	if (!item->result.mode || merge->favour == MERGE3_FAVOUR_OURS) {
		merge3_keep(item);
		return;
	}
	item->verdict = MERGE3_CONFLICT;
	item->conflict = "it is no directory any more, but something new is in it";
}

/* What is in a directory follows it at once: the next that stays is in it, or none is. */
static void check_directories(struct merge3 *merge)
{
	size_t i = merge->count, j = merge->ours->count;
	const char *stays = "";

	while (i || j) {
		struct merge3_item *item = &merge->items[i ? i - 1 : 0];
		const struct tree_entry *entry = &merge->ours->entries[j ? j - 1 : 0];
		int order = i && j ? tree_path_compare(item->path, entry->path) : 0;

		if (!i || order < 0) {
			stays = entry->now.mode ? entry->path : stays;
			j--;
			continue;
		}
		if (item->verdict == MERGE3_TAKE &&
		    S_ISDIR(item->state[MERGE3_OURS].mode) && !S_ISDIR(item->result.mode) &&
		    is_inside(stays, item->path))
			something_stays(merge, item);
		stays = item->result.mode ? item->path : stays;
		i--;
		j -= j && order == 0;
	}
}

static bool comes(const struct merge3_item *item)
{
	return item->verdict != MERGE3_KEEP && item->verdict != MERGE3_CONFLICT &&
	       item->result.mode;
}

/* A directory that something comes into. A path without an entry is as the image has it;
 * where no side has one, the image has a directory, since theirs has something in it. */
static int need_directory(struct merge3 *merge, const char *path)
{
	static const struct tree_state image = {.mode = S_IFDIR};
	const struct tree_entry *theirs = tree_find(merge->theirs, path);
	const struct tree_entry *ours = tree_find(merge->ours, path);
	const struct tree_entry *any = theirs ? theirs : ours;
	const struct tree_state *below = any ? &any->below : &image;
	struct merge3_item added = {
	    .state = {[MERGE3_OURS] = ours ? ours->now : *below,
		      [MERGE3_THEIRS] = theirs ? theirs->now : *below}};
	struct merge3_item *item = find_item(merge, path);
	uint32_t is = item ? item->result.mode : added.state[MERGE3_OURS].mode;

	if (S_ISDIR(is))
		return 0;
	if (!S_ISDIR(item ? item->state[MERGE3_THEIRS].mode
			  : added.state[MERGE3_THEIRS].mode) ||
	    (is && merge->favour != MERGE3_FAVOUR_THEIRS))
		return -ENOTDIR;
	if (item) {
		if (item->verdict != MERGE3_CONFLICT)
			merge3_take(item);
		return 0;
	}
	added.path = any->path;
	added.state[MERGE3_BASE] = added.state[MERGE3_THEIRS];
	merge3_take(&added);
	return merge3_append(merge, &added);
}

/* How much of @path are directories that the path @before is in, too. */
static size_t common_directories(const char *path, const char *before)
{
	size_t common = 0;

	for (size_t i = 0; path[i] && path[i] == before[i]; i++)
		if (path[i] == '/')
			common = i + 1;
	return common;
}

static int need_directories(struct merge3 *merge, const char *path, size_t known)
{
	char parent[FILES_PATH_MAX + 1];
	int r = 0;

	for (const char *slash = strchr(path + known, '/'); slash && r == 0;
	     slash = strchr(slash + 1, '/')) {
		if (++merge->looks > LOOKS_MAX)
			return -EFBIG;
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		r = need_directory(merge, parent);
	}
	return r;
}

static void no_directory(const struct merge3 *merge, struct merge3_item *item)
{
	if (merge->favour == MERGE3_FAVOUR_OURS) {
		merge3_keep(item);
		return;
	}
	item->verdict = MERGE3_CONFLICT;
	item->conflict = "what it is in is no directory any more";
}

/* What comes needs the directories that it is in. Those that are added stand behind the
 * others at first, and nobody looks for them: what is in one directory stands together. */
static int check_parents(struct merge3 *merge)
{
	size_t count = merge->sorted = merge->count;
	const char *before = "";
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		if (!comes(&merge->items[i]))
			continue;
		r = need_directories(merge, merge->items[i].path,
				     common_directories(merge->items[i].path, before));
		if (r == -ENOTDIR)
			no_directory(merge, &merge->items[i]);
		else if (r < 0)
			return r;
		else
			before = merge->items[i].path;
	}
	if (merge->count > count)
		qsort(merge->items, merge->count, sizeof(*merge->items), compare_items);
	merge->sorted = merge->count;
	return 0;
}

int merge3_check(struct merge3 *merge)
{
	int r = check_parents(merge);

	if (r == 0)
		check_directories(merge);
	return r;
}

size_t merge3_conflicts(const struct merge3 *merge)
{
	size_t count = 0;

	for (size_t i = 0; i < merge->count; i++)
		count += merge->items[i].verdict == MERGE3_CONFLICT;
	return count;
}
