#include "pffs/core/merge/merge3.h"

#include "pffs/core/diff/same.h"
#include "wire/files.h"

#include <errno.h>
#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BINARY_LOOK 8000 /* bytes in which git looks for a NUL */

/* What libgit2 is given at once, on each side: its time grows faster than linearly. */
#define TEXT_BYTES_MAX (4u << 20)
#define TEXT_LINES_MAX 20000u

enum relation { SAME, DIFFERENT, UNKNOWN };

static uint32_t type(const struct tree_state *state)
{
	return state->mode & S_IFMT;
}

static enum relation compare_bytes(const struct buf *a, const struct buf *b)
{
	return a->len == b->len &&
		       (!a->len || memcmp(buf_peek(a), buf_peek(b), a->len) == 0)
		   ? SAME
		   : DIFFERENT;
}

/* Content alone, of two that are of one type. */
static enum relation relate_content(const struct merge3 *merge,
				    const struct merge3_item *item, enum merge3_side x,
				    enum merge3_side y)
{
	const struct tree_state *a = &item->state[x], *b = &item->state[y];
	unsigned both = 1u << x | 1u << y;

	switch (type(a)) {
	case S_IFREG:
		if (a->size != b->size)
			return DIFFERENT;
		if (!a->size || same_untouched(a, b, merge->doubt[x ^ y]))
			return SAME;
		if ((item->have & both) == both)
			return compare_bytes(&item->content[x], &item->content[y]);
		if ((item->digested & both) == both)
			return item->digest[x] == item->digest[y] ? SAME : DIFFERENT;
		return UNKNOWN;
	case S_IFLNK:
		return strcmp(a->target, b->target) == 0 ? SAME : DIFFERENT;
	default:
		return a->rdev == b->rdev ? SAME : DIFFERENT;
	}
}

static enum relation relate(const struct merge3 *merge, const struct merge3_item *item,
			    enum merge3_side x, enum merge3_side y)
{
	const struct tree_state *a = &item->state[x], *b = &item->state[y];

	if (!a->mode && !b->mode)
		return SAME;
	if (type(a) != type(b) || !same_attributes(a, b))
		return DIFFERENT;
	return relate_content(merge, item, x, y);
}

void merge3_keep(struct merge3_item *item)
{
	item->verdict = MERGE3_KEEP;
	item->result = item->state[MERGE3_OURS];
}

void merge3_take(struct merge3_item *item)
{
	item->verdict = MERGE3_TAKE;
	item->result = item->state[MERGE3_THEIRS];
}

/* Both sides changed it, and not alike. */
static void clash(struct merge3_item *item, enum merge3_favour favour, const char *why)
{
	if (favour == MERGE3_FAVOUR_OURS) {
		merge3_keep(item);
	} else if (favour == MERGE3_FAVOUR_THEIRS) {
		merge3_take(item);
	} else {
		item->verdict = MERGE3_CONFLICT;
		item->result = item->state[MERGE3_OURS];
		item->conflict = why;
	}
}

/* Of three values that which one side changed. Return: false when both did. */
static bool pick(uint32_t base, uint32_t ours, uint32_t theirs, enum merge3_favour favour,
		 uint32_t *value)
{
	*value = ours == base || favour == MERGE3_FAVOUR_THEIRS ? theirs : ours;
	if (theirs == base)
		*value = ours;
	return ours == base || theirs == base || ours == theirs || favour;
}

static bool merge_attributes(struct merge3_item *item, enum merge3_favour favour)
{
	const struct tree_state *base = &item->state[MERGE3_BASE];
	const struct tree_state *ours = &item->state[MERGE3_OURS];
	const struct tree_state *theirs = &item->state[MERGE3_THEIRS];
	struct tree_state *to = &item->result;
	bool well = pick(base->mode, ours->mode, theirs->mode, favour, &to->mode);

	well &= pick(base->uid, ours->uid, theirs->uid, favour, &to->uid);
	return well & pick(base->gid, ours->gid, theirs->gid, favour, &to->gid);
}

static bool is_text(const struct buf *b)
{
	size_t len = b->len < BINARY_LOOK ? b->len : BINARY_LOOK;

	return !len || !memchr(buf_peek(b), '\0', len);
}

static bool is_large(const struct buf *b)
{
	const uint8_t *at = buf_peek(b), *end = at + b->len;
	unsigned lines = 0;

	if (b->len > TEXT_BYTES_MAX)
		return true;
	while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
		at++;
		lines++;
	}
	return lines > TEXT_LINES_MAX;
}

/* Return: what is in the way of merging it by lines, or NULL. */
static const char *why_no_text(const struct merge3_item *item)
{
	for (int side = 0; side < MERGE3_SIDES; side++) {
		if (!type(&item->state[side]))
			continue;
		if (!(item->have & 1u << side) || is_large(&item->content[side]))
			return "both changed it, and it is too large to merge by lines";
		if (!is_text(&item->content[side]))
			return "both changed it, and it is no text";
	}
	return NULL;
}

static git_merge_file_input input_of(const struct buf *b)
{
	return (git_merge_file_input){
	    .version = GIT_MERGE_FILE_INPUT_VERSION,
	    .ptr = b->len ? (const char *)buf_peek(b) : "",
	    .size = b->len,
	};
}

/* Return: 1, 0 when lines of both sides are in each other's way, or -ENOMEM. */
static int merge_text(struct merge3_item *item, enum merge3_favour favour)
{
	static const git_merge_file_favor_t favours[] = {
	    [MERGE3_FAVOUR_NONE] = GIT_MERGE_FILE_FAVOR_NORMAL,
	    [MERGE3_FAVOUR_OURS] = GIT_MERGE_FILE_FAVOR_OURS,
	    [MERGE3_FAVOUR_THEIRS] = GIT_MERGE_FILE_FAVOR_THEIRS,
	};
	const git_merge_file_options options = {.version = GIT_MERGE_FILE_OPTIONS_VERSION,
						.favor = favours[favour]};
	git_merge_file_input base = input_of(&item->content[MERGE3_BASE]);
	git_merge_file_input ours = input_of(&item->content[MERGE3_OURS]);
	git_merge_file_input theirs = input_of(&item->content[MERGE3_THEIRS]);
	git_merge_file_result result = {0};
	int r = 1;

	if (git_merge_file(&result, &base, &ours, &theirs, &options) < 0)
		return -ENOMEM;
	if (!result.automergeable)
		r = 0;
	else if (buf_append(&item->merged, result.ptr, result.len) < 0)
		r = -ENOMEM;
	git_merge_file_result_free(&result);
	return r;
}

/* It is no file that any side has: nothing that is compared with it is untouched. */
static void have_merged(struct merge3_item *item)
{
	item->verdict = MERGE3_MERGED;
	item->result.size = item->merged.len;
	item->result.ctime_ns = INT64_MAX;
}

/* Content of which both sides made something else. */
static int merge_content(struct merge3_item *item, enum merge3_favour favour)
{
	const char *why =
	    type(&item->result) == S_IFREG ? why_no_text(item) : "both changed it";
	int r = why ? 0 : merge_text(item, favour);

	if (r < 0)
		return r;
	if (r == 0)
		clash(item, favour, why ? why : "both changed the same lines");
	else if (compare_bytes(&item->merged, &item->content[MERGE3_OURS]) == SAME)
		merge3_keep(item);
	else
		have_merged(item);
	return 0;
}

/* Contents are needed that are not there. Return: false when nothing helps any more. */
static bool want_contents(struct merge3_item *item)
{
	if (item->wanted)
		return false;
	for (int side = 0; side < MERGE3_SIDES; side++)
		if (type(&item->state[side]) == S_IFREG)
			item->wanted |= 1u << side;
	return item->wanted;
}

/* Something of one type on all three sides, or that both sides made anew. */
static int decide_alike(const struct merge3 *merge, struct merge3_item *item)
{
	const enum merge3_favour favour = merge->favour;
	bool added = !item->state[MERGE3_BASE].mode;
	enum relation tb =
	    added ? DIFFERENT : relate_content(merge, item, MERGE3_THEIRS, MERGE3_BASE);
	enum relation ob =
	    added ? DIFFERENT : relate_content(merge, item, MERGE3_OURS, MERGE3_BASE);
	enum relation ot = relate_content(merge, item, MERGE3_OURS, MERGE3_THEIRS);
	bool content_clashes = tb != SAME && ob != SAME && ot != SAME;

	if ((tb == UNKNOWN || (tb != SAME && ob == UNKNOWN) || content_clashes) &&
	    want_contents(item))
		return 0;
	item->result = item->state[tb != SAME && ob == SAME ? MERGE3_THEIRS : MERGE3_OURS];
	item->verdict = MERGE3_KEEP;
	if (content_clashes) {
		int r = merge_content(item, favour);

		if (r < 0 || item->verdict == MERGE3_CONFLICT)
			return r;
	} else if (tb != SAME && ob == SAME) {
		item->verdict = MERGE3_TAKE;
	}
	if (added) /* so that the attributes are those of the side that is favoured */
		item->state[MERGE3_BASE] =
		    item->state[favour == MERGE3_FAVOUR_OURS ? MERGE3_THEIRS : MERGE3_OURS];
	if (added && favour == MERGE3_FAVOUR_NONE &&
	    !same_attributes(&item->state[MERGE3_OURS], &item->state[MERGE3_THEIRS]))
		clash(item, favour, "both made it, with another mode or owner");
	else if (!merge_attributes(item, favour))
		clash(item, favour, "both changed its mode or owner");
	else if (item->verdict == MERGE3_KEEP &&
		 !same_attributes(&item->result, &item->state[MERGE3_OURS]))
		item->verdict = MERGE3_ATTR;
	return 0;
}

static const char *why_unlike(const struct merge3_item *item)
{
	if (!item->state[MERGE3_THEIRS].mode)
		return "they removed what we changed";
	if (!item->state[MERGE3_OURS].mode)
		return "we removed what they changed";
	return "both made something else of it";
}

static int decide_unlike(const struct merge3 *merge, struct merge3_item *item)
{
	enum relation tb = relate(merge, item, MERGE3_THEIRS, MERGE3_BASE);
	enum relation ob = relate(merge, item, MERGE3_OURS, MERGE3_BASE);
	enum relation ot = relate(merge, item, MERGE3_OURS, MERGE3_THEIRS);

	if ((tb == UNKNOWN || ob == UNKNOWN || ot == UNKNOWN) && want_contents(item))
		return 0;
	if (tb == SAME || ot == SAME)
		merge3_keep(item);
	else if (ob == SAME)
		merge3_take(item);
	else
		clash(item, merge->favour, why_unlike(item));
	return 0;
}

static int decide(const struct merge3 *merge, struct merge3_item *item)
{
	uint32_t base = type(&item->state[MERGE3_BASE]);
	uint32_t ours = type(&item->state[MERGE3_OURS]);
	uint32_t theirs = type(&item->state[MERGE3_THEIRS]);

	if (ours && ours == theirs && (!base || base == ours))
		return decide_alike(merge, item);
	return decide_unlike(merge, item);
}

int merge3_decide(const struct merge3 *merge, struct merge3_item *item)
{
	int r = decide(merge, item);

	for (int side = 0; side < MERGE3_SIDES; side++)
		buf_fini(&item->content[side]);
	item->have = 0;
	return r;
}

/* What a side has at a path that may have no entry there, but has one on another. */
static struct tree_state state_at(const struct tree *tree, const char *path,
				  const struct tree_state *below)
{
	const struct tree_entry *entry = tree_find(tree, path);

	return entry ? entry->now : *below;
}

int merge3_append(struct merge3 *merge, const struct merge3_item *item)
{
	struct merge3_item *grown = merge->items;

	if (merge->count == merge->room) {
		merge->room = merge->room ? 2 * merge->room : 64;
		grown = reallocarray(grown, merge->room, sizeof(*grown));
	}
	if (!grown) {
		merge->room = merge->count;
		return -ENOMEM;
	}
	merge->items = grown;
	merge->items[merge->count++] = *item;
	return 0;
}

static int add_item(struct merge3 *merge, const struct tree_pair *pair,
		    const struct tree_state *below, const struct tree *ours)
{
	struct merge3_item item = {
	    .path = pair->path,
	    .state = {[MERGE3_BASE] = *pair->from, [MERGE3_THEIRS] = *pair->to},
	};
	int r;

	item.state[MERGE3_OURS] = state_at(ours, pair->path, below);
	if (relate(merge, &item, MERGE3_THEIRS, MERGE3_BASE) == SAME)
		return 0;
	r = decide(merge, &item);
	return r < 0 ? r : merge3_append(merge, &item);
}

static const struct tree_state *below_of(const struct tree *tree, const char *path)
{
	const struct tree_entry *entry = tree_find(tree, path);

	return entry ? &entry->below : NULL;
}

int merge3_begin(struct merge3 *merge, const struct tree *base, const struct tree *ours,
		 const struct tree *theirs, enum merge3_favour favour)
{
	struct tree_pairs pairs = {.from = base, .to = theirs};
	const struct tree_state *below;
	struct tree_pair pair;
	int r = 0;

	git_libgit2_init();
	*merge = (struct merge3){.favour = favour, .ours = ours, .theirs = theirs};
	merge->doubt[MERGE3_BASE ^ MERGE3_OURS] = same_doubt(base, ours);
	merge->doubt[MERGE3_BASE ^ MERGE3_THEIRS] = same_doubt(base, theirs);
	merge->doubt[MERGE3_OURS ^ MERGE3_THEIRS] = same_doubt(ours, theirs);
	while (r == 0 && tree_pair_next(&pairs, &pair)) {
		below = below_of(base, pair.path);
		if (!below)
			below = below_of(theirs, pair.path);
		r = add_item(merge, &pair, below, ours);
	}
	return r;
}

void merge3_fini(struct merge3 *merge)
{
	for (size_t i = 0; i < merge->count; i++) {
		for (int side = 0; side < MERGE3_SIDES; side++)
			buf_fini(&merge->items[i].content[side]);
		buf_fini(&merge->items[i].merged);
	}
	free(merge->items);
	git_libgit2_shutdown();
	*merge = (struct merge3){0};
}
