#include "pffs/core/files_cache.h"

#include "pffs/core/files_node.h"
#include "util/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WATCH_BUCKETS 1024u
#define SLOTS_FIRST   16u
#define ENTRIES_MAX   65536u /* of one listing */
#define ENTRY_ROOM    (sizeof(struct files_entry) + 16)

static uint32_t hash(const char *name)
{
	uint32_t h = 0x811c9dc5u; /* FNV-1a */

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x01000193u;
	return h ^ h >> 16;
}

static uint64_t now_ms(void)
{
	return io_monotonic_ns() / 1000000u;
}

struct files_listing *files_listing_new(void)
{
	struct files_listing *listing = calloc(1, sizeof(*listing));

	if (!listing)
		return NULL;
	listing->refs = 1;
	listing->bytes = sizeof(*listing);
	list_init(&listing->used);
	return listing;
}

void files_listing_unref(struct files_listing *listing)
{
	if (!listing || --listing->refs)
		return;
	buf_fini(&listing->entries);
	free(listing->index);
	free(listing);
}

static void entry_at(const struct files_listing *listing, uint32_t at,
		     struct files_entry *entry)
{
	struct cursor c =
	    cursor_over(buf_peek(&listing->entries) + at, listing->entries.len - at);

	files_get_entry(&c, entry);
}

/* The slot that has the name, or the one where it would be. */
static uint32_t *find_slot(const struct files_listing *listing, const char *name,
			   struct files_entry *entry)
{
	uint32_t i = hash(name) & (listing->slots - 1);

	for (; listing->index[i]; i = (i + 1) & (listing->slots - 1)) {
		entry_at(listing, listing->index[i] - 1, entry);
		if (strcmp(entry->name, name) == 0)
			break;
	}
	return &listing->index[i];
}

static int grow(struct files_listing *listing)
{
	uint32_t slots = listing->slots ? 2 * listing->slots : SLOTS_FIRST;
	uint32_t *old = listing->index;
	uint32_t old_slots = listing->slots;
	struct files_entry entry, other;

	if (4 * (listing->count + 1) <= 3 * listing->slots)
		return 0;
	listing->index = calloc(slots, sizeof(uint32_t));
	if (!listing->index) {
		listing->index = old;
		return -ENOMEM;
	}
	listing->slots = slots;
	for (uint32_t i = 0; i < old_slots; i++) {
		if (!old[i])
			continue;
		entry_at(listing, old[i] - 1, &entry);
		*find_slot(listing, entry.name, &other) = old[i];
	}
	free(old);
	return 0;
}

/* A name that is there already is what was said last. */
int files_listing_add(struct files_listing *listing, const struct files_entry *entry)
{
	uint8_t room[ENTRY_ROOM];
	struct cursor c = cursor_into(room, sizeof(room));
	struct files_entry other, kept = *entry;
	size_t at = listing->entries.len, len;
	uint32_t *slot;
	int r = listing->count < ENTRIES_MAX ? grow(listing) : -EFBIG;

	kept.cookie = now_ms();
	files_put_entry(&c, &kept);
	len = sizeof(room) - cursor_left(&c);
	if (r == 0)
		r = buf_append(&listing->entries, room, len);
	if (r < 0)
		return r;
	slot = find_slot(listing, entry->name, &other);
	listing->count += !*slot;
	*slot = (uint32_t)at + 1;
	listing->bytes =
	    sizeof(*listing) + listing->entries.room + listing->slots * sizeof(uint32_t);
	return 0;
}

static struct files_listing **watch_bucket(const struct files *files, uint32_t watch)
{
	return &files->watches[watch % WATCH_BUCKETS];
}

static void take_out(struct files_listing *listing)
{
	struct files_listing **at = watch_bucket(listing->dir->files, listing->watch);

	while (*at != listing)
		at = &(*at)->next;
	*at = listing->next;
}

void files_cache_drop(struct files_node *dir)
{
	struct files_listing *listing = dir->listing;

	if (!listing)
		return;
	take_out(listing);
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
	make_room(dir->files, listing);
}

/* Make it what is known of the directory; the caller's reference is taken over. */
static void install(struct files_node *dir, struct files_listing *listing, uint32_t watch)
{
	struct files *files = dir->files;
	struct files_listing **head;

	if (!files->watches)
		files->watches = calloc(WATCH_BUCKETS, sizeof(struct files_listing *));
	files_cache_drop(dir);
	if (!files->watches) {
		files_listing_unref(listing);
		return;
	}
	listing->dir = dir;
	listing->watch = watch;
	head = watch_bucket(files, watch);
	listing->next = *head;
	*head = listing;
	dir->listing = listing;
	account(dir, 0);
}

/* The listing of this watch. Replies may overtake each other: numbers of watches grow,
 * so that one with a lower number says what was known before. */
static struct files_listing *listing_of(struct files_node *dir, int32_t watch)
{
	struct files_listing *listing;

	if (watch < 0 || (dir->listing && dir->listing->watch > (uint32_t)watch))
		return NULL;
	if (dir->listing && dir->listing->watch == (uint32_t)watch)
		return dir->listing;
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
	if (watch < 0 || (dir->listing && dir->listing->watch > (uint32_t)watch))
		return;
	listing->complete = true;
	if (!listing->has_self && dir->listing && dir->listing->has_self &&
	    dir->listing->watch == (uint32_t)watch) {
		listing->self = dir->listing->self;
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
	struct files_listing *listing = dir->listing;

	if (!listing || !listing->complete)
		return NULL;
	touch(listing);
	listing->refs++;
	return listing;
}

bool files_cache_self(struct files_node *dir, struct files_attr *attr)
{
	if (!dir->listing || !dir->listing->has_self)
		return false;
	*attr = dir->listing->self;
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
	struct files_listing *listing = dir->listing;
	struct files_entry entry;

	if (!listing)
		return FILES_UNKNOWN;
	touch(listing);
	if (!listing->slots || !*find_slot(listing, name, &entry))
		return listing->complete ? FILES_ABSENT : FILES_UNKNOWN;
	*attr = entry.attr;
	return reliable(&entry);
}

void files_cache_changed(struct files *files, uint32_t watch)
{
	struct files_listing *listing, *next;

	if (watch == UINT32_MAX) {
		files_cache_clear(files);
		return;
	}
	if (!files->watches)
		return;
	for (listing = *watch_bucket(files, watch); listing; listing = next) {
		next = listing->next;
		if (listing->watch == watch)
			files_cache_drop(listing->dir);
	}
}

void files_cache_clear(struct files *files)
{
	if (!files->watches)
		return;
	for (uint32_t i = 0; i < WATCH_BUCKETS; i++)
		while (files->watches[i])
			files_cache_drop(files->watches[i]->dir);
}
