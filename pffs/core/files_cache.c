#include "pffs/core/files_cache.h"

#include "pffs/core/files_node.h"
#include "util/io.h"
#include "util/siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WATCH_BUCKETS 1024u

static uint64_t now_ms(void)
{
	return io_monotonic_ns() / 1000000u;
}

static struct link *watch_bucket(const struct files *files, uint32_t watch)
{
	return &files->watches[siphash_secret(0, &watch, sizeof(watch)) % WATCH_BUCKETS];
}

void files_cache_drop(struct files_node *dir)
{
	struct files_listing *listing = dir->listing;

	if (!listing)
		return;
	list_del(&listing->same);
	list_del(&listing->used);
	dir->files->cached -= listing->bytes;
	dir->files->sb->core->listed -= listing->bytes;
	dir->listing = NULL;
	dir->misses = 0;
	listing->dir = NULL;
	files_listing_unref(listing);
}

/* What was used longest ago goes, but for @spare. */
static void make_room(struct files *files, const struct files_listing *spare)
{
	struct core *core = files->sb->core;
	struct files_listing *listing;

	list_for_each (listing, &core->listings, struct files_listing, used) {
		if (files->cached <= FILES_CACHE_EACH && core->listed <= FILES_CACHE_ALL)
			return;
		if (listing != spare &&
		    (core->listed > FILES_CACHE_ALL || listing->dir->files == files))
			files_cache_drop(listing->dir);
	}
}

static void account(struct files_node *dir, size_t before)
{
	struct files_listing *listing = dir->listing;
	struct core *core = dir->files->sb->core;

	dir->files->cached += listing->bytes - before;
	core->listed += listing->bytes - before;
	list_del(&listing->used);
	list_add_before(&core->listings, &listing->used);
	if (listing->bytes > FILES_CACHE_EACH)
		files_cache_drop(dir);
	else
		make_room(dir->files, listing);
}

static struct link *new_buckets(void)
{
	struct link *buckets = calloc(WATCH_BUCKETS, sizeof(*buckets));

	for (uint32_t i = 0; buckets && i < WATCH_BUCKETS; i++)
		list_init(&buckets[i]);
	return buckets;
}

/* Make it what is known of the directory; the caller's reference is taken over. */
static void install(struct files_node *dir, struct files_listing *listing, uint32_t watch)
{
	struct files *files = dir->files;

	if (!files->watches)
		files->watches = new_buckets();
	files_cache_drop(dir);
	if (!files->watches) {
		files_listing_unref(listing);
		return;
	}
	listing->dir = dir;
	listing->watch = watch;
	listing->since = files->replacements;
	list_add_before(watch_bucket(files, watch), &listing->same);
	dir->listing = listing;
	account(dir, 0);
}

/* What is known of a directory, unless it, or one that it is in, is another one now. */
static struct files_listing *current(struct files_node *dir)
{
	const struct files_node *at = dir;

	if (!dir->listing)
		return NULL;
	while (at && at->replaced <= dir->listing->since)
		at = at->parent;
	if (at)
		files_cache_drop(dir);
	return dir->listing;
}

/* The listing of this watch. Replies may overtake each other: numbers of watches grow,
 * so that one with a lower number says what was known before. */
static struct files_listing *listing_of(struct files_node *dir, int32_t watch)
{
	struct files_listing *listing = current(dir);

	if (watch < 0 || (listing && listing->watch > (uint32_t)watch))
		return NULL;
	if (listing && listing->watch == (uint32_t)watch)
		return listing;
	listing = files_listing_new();
	if (listing)
		install(dir, listing, (uint32_t)watch);
	return dir->listing;
}

void files_cache_learn(struct files_node *dir, int32_t watch, const char *name,
		       const struct files_attr *attr)
{
	struct files_listing *listing = listing_of(dir, watch);
	struct files_entry entry = {0};
	size_t before;

	if (!listing || listing->complete)
		return;
	if (attr)
		entry.attr = *attr;
	snprintf(entry.name, sizeof(entry.name), "%s", name);
	before = listing->bytes;
	if (files_listing_add(listing, &entry) < 0)
		files_cache_drop(dir);
	else
		account(dir, before);
}

void files_cache_learn_self(struct files_node *dir, int32_t watch,
			    const struct files_attr *attr)
{
	struct files_listing *listing = listing_of(dir, watch);

	if (!listing)
		return;
	listing->self = *attr;
	listing->has_self = true;
}

void files_cache_install(struct files_node *dir, struct files_listing *listing,
			 int32_t watch)
{
	const struct files_listing *before = current(dir);

	if (watch < 0 || (before && before->watch > (uint32_t)watch))
		return;
	listing->complete = true;
	if (!listing->has_self && before && before->has_self &&
	    before->watch == (uint32_t)watch) {
		listing->self = before->self;
		listing->has_self = true;
	}
	listing->refs++;
	install(dir, listing, (uint32_t)watch);
}

static void touch(struct files_listing *listing)
{
	list_del(&listing->used);
	list_add_before(&listing->dir->files->sb->core->listings, &listing->used);
}

struct files_listing *files_cache_complete(struct files_node *dir)
{
	struct files_listing *listing = current(dir);

	if (!listing || !listing->complete)
		return NULL;
	touch(listing);
	listing->refs++;
	return listing;
}

bool files_cache_self(struct files_node *dir, struct files_attr *attr)
{
	const struct files_listing *listing = current(dir);

	if (!listing || !listing->has_self)
		return false;
	*attr = listing->self;
	return true;
}

/* inotify tells of a file by the name that was used, and of no change inside a
 * directory. */
static enum files_known reliable(const struct files_entry *entry)
{
	if (!entry->attr.mode)
		return FILES_ABSENT;
	if (S_ISDIR(entry->attr.mode) || entry->attr.nlink > 1 ||
	    now_ms() - entry->cookie > FILES_ATTR_MS)
		return FILES_NAMED;
	return FILES_PRESENT;
}

enum files_known files_cache_lookup(struct files_node *dir, const char *name,
				    struct files_attr *attr)
{
	struct files_listing *listing = current(dir);
	struct files_entry entry;

	if (!listing)
		return FILES_UNKNOWN;
	touch(listing);
	if (!files_listing_find(listing, name, &entry))
		return listing->complete ? FILES_ABSENT : FILES_UNKNOWN;
	*attr = entry.attr;
	return reliable(&entry);
}

void files_cache_changed(struct files *files, uint32_t watch)
{
	struct files_listing *listing;

	if (watch == UINT32_MAX) {
		files_cache_clear(files);
		return;
	}
	if (!files->watches)
		return;
	list_for_each (listing, watch_bucket(files, watch), struct files_listing, same)
		if (listing->watch == watch)
			files_cache_drop(listing->dir);
}

void files_cache_clear(struct files *files)
{
	struct files_listing *listing;

	for (uint32_t i = 0; files->watches && i < WATCH_BUCKETS; i++)
		list_for_each (listing, &files->watches[i], struct files_listing, same)
			files_cache_drop(listing->dir);
}
