#include "pffs/core/files/files_cache.h"

#include "pffs/core/files/files_node.h"
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

struct files_moment files_cache_moment(const struct files_node *dir)
{
	return (struct files_moment){
	    .dir = dir,
	    .changes = dir ? dir->changes : 0,
	    .replacements = dir ? dir->files->replacements : 0,
	};
}

bool files_cache_same(const struct files_node *dir, const struct files_moment *then)
{
	return dir && dir == then->dir && dir->files->replacements == then->replacements;
}

bool files_cache_unchanged(const struct files_node *dir, const struct files_moment *then)
{
	return files_cache_same(dir, then) && dir->changes == then->changes;
}

static struct link *watch_bucket(const struct files *files, uint32_t watch)
{
	return &files->watches[siphash_secret(0, &watch, sizeof(watch)) % WATCH_BUCKETS];
}

static void hide(struct files_node *node, bool names)
{
	struct core *core = node->files->sb->core;
	struct core_mount *mount;

	if (!node->shown)
		return;
	node->shown = false;
	list_for_each (mount, &core->mounts, struct core_mount, link)
		mount->stale(mount, node, names);
}

void files_cache_hide(struct files_node *node)
{
	hide(node, core_mounted_twice(node->files->sb->core));
}

static void hide_all(struct files_node *dir, const struct files_listing *listing)
{
	struct files_node *node;

	hide(dir, true);
	if (!listing->shown)
		return;
	list_for_each (node, &dir->children, struct files_node, sibling)
		hide(node, true);
}

/* Who calls it holds the directory, or does not use it any more. */
static void let_go(struct files_node *dir)
{
	struct files_listing *listing = dir->listing;

	list_del(&listing->same);
	list_del(&listing->used);
	dir->files->cached -= listing->bytes;
	dir->files->sb->core->listed -= listing->bytes;
	dir->listing = NULL;
	listing->dir = NULL;
	files_listing_unref(listing);
	files_node_unref(dir);
}

void files_cache_drop(struct files_node *dir)
{
	if (!dir->listing)
		return;
	hide_all(dir, dir->listing);
	dir->misses = 0;
	let_go(dir);
}

/* The node behind @node among those below @top, or NULL. */
static struct files_node *next_below(const struct files_node *node,
				     const struct files_node *top)
{
	if (!list_empty(&node->children))
		return container_of(node->children.next, struct files_node, sibling);
	while (node != top && node->sibling.next == &node->parent->children)
		node = node->parent;
	return node == top ? NULL
			   : container_of(node->sibling.next, struct files_node, sibling);
}

void files_cache_drop_below(struct files_node *dir)
{
	struct files_node *next;

	files_node_ref(dir);
	for (struct files_node *node = dir; node; node = next) {
		next = next_below(node, dir);
		files_cache_drop(node);
	}
	files_node_unref(dir);
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

static void number_anew(const struct files *files, struct files_listing *listing)
{
	uint32_t *number = &files->sb->core->listing_number;

	*number = *number < INT32_MAX ? *number + 1 : 1;
	listing->number = *number;
}

static struct link *new_buckets(void)
{
	struct link *buckets = calloc(WATCH_BUCKETS, sizeof(*buckets));

	for (uint32_t i = 0; buckets && i < WATCH_BUCKETS; i++)
		list_init(&buckets[i]);
	return buckets;
}

/* Make it what is known of the directory; the caller's reference is taken over. What was
 * shown under the same watch goes on to be true. */
static void install(struct files_node *dir, struct files_listing *listing, uint32_t watch)
{
	struct files *files = dir->files;
	const struct files_listing *before = dir->listing;

	if (!files->watches)
		files->watches = new_buckets();
	if (!files->watches) {
		files_listing_unref(listing);
		return;
	}
	files_node_ref(dir);
	if (before && before->watch == watch) {
		listing->shown = before->shown;
		let_go(dir);
	} else {
		files_cache_drop(dir);
	}
	listing->dir = dir;
	listing->watch = watch;
	number_anew(files, listing);
	list_add_before(watch_bucket(files, watch), &listing->same);
	dir->listing = listing;
	account(dir, 0);
}

/* The listing of this watch. Replies may overtake each other: numbers of watches grow,
 * so that one with a lower number says what was known before. */
static struct files_listing *listing_of(struct files_node *dir, int32_t watch)
{
	struct files_listing *listing = dir->listing;

	if (watch <= 0 || (listing && listing->watch > (uint32_t)watch))
		return NULL;
	if (listing && listing->watch == (uint32_t)watch)
		return listing;
	listing = files_listing_new();
	if (listing)
		install(dir, listing, (uint32_t)watch);
	return dir->listing;
}

static bool is_unsure(const struct files_entry *entry)
{
	return entry->attr.mode == FILES_UNSURE;
}

/* It is to change: what somebody reads stays as it is, and a copy takes its place. */
static struct files_listing *writable(struct files_node *dir, struct files_listing *listing)
{
	struct files_listing *copy;

	if (listing->refs == 1)
		return listing;
	copy = files_listing_copy(listing);
	if (copy)
		install(dir, copy, listing->watch);
	return copy ? dir->listing : NULL;
}

static int put_name(struct files_node *dir, struct files_listing *listing, const char *name,
		    const struct files_attr *attr)
{
	struct files_entry entry = {0};
	bool was_unsure = files_listing_find(listing, name, &entry) && is_unsure(&entry);
	size_t before = listing->bytes;
	int r;

	entry.attr = attr ? *attr : (struct files_attr){0};
	snprintf(entry.name, sizeof(entry.name), "%s", name);
	r = files_listing_add(listing, &entry);
	if (r < 0)
		return r;
	listing->unsure += is_unsure(&entry);
	listing->unsure -= was_unsure;
	number_anew(dir->files, listing);
	account(dir, before);
	return 0;
}

void files_cache_unsure(struct files_node *dir, const char *name, bool self)
{
	static const struct files_attr unsure = {.mode = FILES_UNSURE};
	struct files_node *node = files_node_find(dir, name);
	struct files_listing *listing = dir->listing;

	if (node)
		files_cache_hide(node);
	if (!listing)
		return;
	listing = writable(dir, listing);
	if (!listing || put_name(dir, listing, name, &unsure) < 0) {
		files_cache_drop(dir);
	} else if (self && dir->listing) {
		files_cache_hide(dir);
		listing->has_self = false;
	}
}

void files_cache_change(struct files_node *dir, int32_t watch, const char *name,
			const struct files_attr *attr, const struct files_attr *self)
{
	struct files_node *node = files_node_find(dir, name);
	struct files_listing *listing = listing_of(dir, watch);

	dir->changes++;
	if (node)
		files_cache_hide(node);
	if (listing)
		listing = writable(dir, listing);
	if (!listing || put_name(dir, listing, name, attr) < 0) {
		files_cache_drop(dir);
		return;
	}
	if (!self || !dir->listing)
		return;
	files_cache_hide(dir);
	listing->self = *self;
	listing->has_self = true;
}

void files_cache_learn(struct files_node *dir, int32_t watch, const char *name,
		       const struct files_attr *attr)
{
	struct files_listing *listing = listing_of(dir, watch);

	if (listing)
		listing = writable(dir, listing);
	if (listing && put_name(dir, listing, name, attr) < 0)
		files_cache_drop(dir);
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
	const struct files_listing *before = dir->listing;

	if (watch <= 0 || (before && before->watch > (uint32_t)watch))
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
	struct files_listing *listing = dir->listing;

	if (!listing || !listing->complete || listing->unsure)
		return NULL;
	touch(listing);
	listing->refs++;
	return listing;
}

bool files_cache_self(struct files_node *dir, struct files_attr *attr)
{
	const struct files_listing *listing = dir->listing;

	if (!listing || !listing->has_self)
		return false;
	*attr = listing->self;
	return true;
}

/* For how many ms an entry is true, if nobody says otherwise. */
static unsigned left_ms(const struct files *files, const struct files_entry *entry)
{
	uint64_t age = now_ms() - entry->cookie;
	uint64_t limit = files->links_told ? FILES_ATTR_MS : FILES_LINKED_MS;

	return age < limit ? (unsigned)(limit - age) : 0;
}

/* inotify tells of a file by the name that was used, and of no change inside a
 * directory. */
static enum files_known reliable(const struct files *files, const struct files_entry *entry)
{
	if (!entry->attr.mode)
		return FILES_ABSENT;
	if (S_ISDIR(entry->attr.mode) || entry->attr.nlink > 1 || !left_ms(files, entry))
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
	if (!files_listing_find(listing, name, &entry))
		return listing->complete ? FILES_ABSENT : FILES_UNKNOWN;
	if (is_unsure(&entry))
		return FILES_UNKNOWN;
	*attr = entry.attr;
	return reliable(dir->files, &entry);
}

bool files_cache_attr(struct files_node *node, struct files_attr *attr)
{
	if (!list_empty(&node->writes))
		return false;
	if (node->type == S_IFDIR)
		return files_cache_self(node, attr);
	return node->parent &&
	       files_cache_lookup(node->parent, node->name, attr) == FILES_PRESENT &&
	       files_node_is(node, attr);
}

static unsigned true_for(struct files_node *node)
{
	const struct files_listing *listing =
	    node->type == S_IFDIR || !node->parent ? node->listing : node->parent->listing;
	struct files_entry entry;

	if (!listing)
		return 0;
	if (node->type == S_IFDIR)
		return listing->has_self ? FILES_ATTR_MS : 0;
	if (!files_listing_find(listing, node->name, &entry) || is_unsure(&entry) ||
	    reliable(node->files, &entry) != FILES_PRESENT ||
	    !files_node_is(node, &entry.attr))
		return 0;
	return left_ms(node->files, &entry);
}

unsigned files_cache_show(struct files_node *node)
{
	struct files_node *parent = node->parent;
	unsigned ms = list_empty(&node->writes) ? true_for(node) : 0;

	if (!ms || (parent && parent->listing && parent->listing->count > FILES_SHOWN_MAX))
		return 0;
	if (parent && parent->listing)
		parent->listing->shown = true;
	node->shown = true;
	return ms;
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

	for (uint32_t i = 0; files->cached && i < WATCH_BUCKETS; i++)
		list_for_each (listing, &files->watches[i], struct files_listing, same)
			files_cache_drop(listing->dir);
}
