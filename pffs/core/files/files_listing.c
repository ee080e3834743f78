/*
 * Listings: entries of a directory, with an index by name. The names are the guest's, so
 * that the index is one whose order it cannot know.
 */
#include "pffs/core/files/files_cache.h"

#include "pffs/core/files/files_node.h"
#include "pffs/core/files/files_path.h"
#include "util/io.h"
#include "util/siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIXED	    (sizeof(struct files_listing) + sizeof(struct files_node))
#define SLOTS_FIRST 16u
#define ENTRIES_MAX 65536u /* of one listing */
#define ENTRY_ROOM  (sizeof(struct files_entry) + 16)

struct files_listing *files_listing_new(void)
{
	struct files_listing *listing = calloc(1, sizeof(*listing));

	if (!listing)
		return NULL;
	listing->refs = 1;
	listing->bytes = FIXED;
	list_init(&listing->used);
	list_init(&listing->same);
	return listing;
}

static void count_bytes(struct files_listing *listing)
{
	listing->bytes =
	    FIXED + listing->entries.room + listing->slots * sizeof(*listing->index);
}

void files_listing_unref(struct files_listing *listing)
{
	if (!listing || --listing->refs)
		return;
	buf_fini(&listing->entries);
	free(listing->index);
	free(listing);
}

struct files_listing *files_listing_copy(const struct files_listing *listing)
{
	struct files_listing *copy = files_listing_new();
	int r = copy ? buf_append(&copy->entries, buf_peek(&listing->entries),
				  listing->entries.len)
		     : -ENOMEM;

	if (r == 0 && listing->slots) {
		copy->index = calloc(listing->slots, sizeof(*copy->index));
		r = copy->index ? 0 : -ENOMEM;
	}
	if (r < 0) {
		files_listing_unref(copy);
		return NULL;
	}
	for (uint32_t i = 0; i < listing->slots; i++)
		copy->index[i] = listing->index[i];
	copy->slots = listing->slots;
	copy->count = listing->count;
	copy->unsure = listing->unsure;
	copy->complete = listing->complete;
	copy->has_self = listing->has_self;
	copy->self = listing->self;
	count_bytes(copy);
	return copy;
}

/* Where an entry is that was put there before. */
static uint8_t *entry_at(const struct files_listing *listing, const struct files_slot *slot)
{
	return listing->entries.data + listing->entries.head + slot->at - 1;
}

static bool has_name(const struct files_listing *listing, const struct files_slot *slot,
		     const char *name, struct files_entry *entry)
{
	const uint8_t *at = entry_at(listing, slot), *start = buf_peek(&listing->entries);
	struct cursor c = cursor_over(at, listing->entries.len - (size_t)(at - start));

	return files_get_entry(&c, entry) == 1 && strcmp(entry->name, name) == 0;
}

static uint32_t hash(const char *name)
{
	return (uint32_t)siphash_secret(0, name, strlen(name));
}

/* The slot that has the name, or the one where it would be. */
static struct files_slot *find_slot(const struct files_listing *listing, uint32_t hashed,
				    const char *name, struct files_entry *entry)
{
	uint32_t mask = listing->slots - 1, i = hashed & mask;

	while (listing->index[i].at &&
	       (listing->index[i].hash != hashed ||
		!has_name(listing, &listing->index[i], name, entry)))
		i = (i + 1) & mask;
	return &listing->index[i];
}

bool files_listing_find(const struct files_listing *listing, const char *name,
			struct files_entry *entry)
{
	return listing->slots && find_slot(listing, hash(name), name, entry)->at;
}

static int grow(struct files_listing *listing)
{
	uint32_t slots = listing->slots ? 2 * listing->slots : SLOTS_FIRST;
	struct files_slot *index;

	if (4 * (listing->count + 1) <= 3 * listing->slots)
		return 0;
	index = calloc(slots, sizeof(*index));
	if (!index)
		return -ENOMEM;
	for (uint32_t i = 0; i < listing->slots; i++) {
		const struct files_slot *slot = &listing->index[i];
		uint32_t to = slot->hash & (slots - 1);

		if (!slot->at)
			continue;
		while (index[to].at)
			to = (to + 1) & (slots - 1);
		index[to] = *slot;
	}
	free(listing->index);
	listing->index = index;
	listing->slots = slots;
	return 0;
}

static int append(struct files_listing *listing, struct files_slot *slot, uint32_t hashed,
		  const uint8_t *bytes, size_t len)
{
	size_t at = listing->entries.len;

	if (listing->count == ENTRIES_MAX)
		return -EFBIG;
	if (buf_append(&listing->entries, bytes, len) < 0)
		return -ENOMEM;
	*slot = (struct files_slot){.hash = hashed, .at = (uint32_t)at + 1};
	listing->count++;
	count_bytes(listing);
	return 0;
}

int files_listing_add(struct files_listing *listing, const struct files_entry *entry)
{
	uint8_t room[ENTRY_ROOM];
	struct cursor c = cursor_into(room, sizeof(room));
	struct files_entry other, kept = *entry;
	uint32_t hashed = hash(entry->name);
	struct files_slot *slot;
	size_t len;
	int r = grow(listing);

	if (r < 0)
		return r;
	kept.cookie = io_monotonic_ns() / 1000000u;
	files_put_entry(&c, &kept);
	len = sizeof(room) - cursor_left(&c);
	slot = find_slot(listing, hashed, entry->name, &other);
	if (!slot->at)
		return append(listing, slot, hashed, room, len);
	/* Of one name all are as long. */
	memcpy(entry_at(listing, slot), room, len);
	return 0;
}

int files_listing_take(struct files_listing *listing, const struct files_reply *reply)
{
	struct cursor c = cursor_over(reply->data, reply->data_len);
	struct files_entry entry;
	int r;

	while ((r = files_get_entry(&c, &entry)) == 1) {
		r = files_attr_ok(&entry.attr) ? files_listing_add(listing, &entry)
					       : -EPROTO;
		if (r < 0)
			break;
	}
	return r;
}
