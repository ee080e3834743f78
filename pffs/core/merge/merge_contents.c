#include "pffs/core/merge/merge_contents.h"

#include "pffs/core/files/fetch.h"
#include "util/siphash.h"

#include <errno.h>
#include <stdlib.h>

#define CONTENT_MAX (32u << 20) /* a larger file is hashed */
#define PIECE	    (1u << 20)	/* bytes of one that are hashed at a time */
#define MERGED_MAX  (64u << 20) /* bytes of texts that are merged by lines, in all */

struct contents {
	struct contents_order of;
	size_t item;		/* that wants contents */
	enum merge3_side side;	/* whose is being read */
	uint64_t hashed;	/* bytes of it, when it is too large */
	struct fetch *fetch;	/* on its way; or NULL */
	struct loop_timer next; /* looks for what is wanted next */
	contents_fn *done;
	void *ctx;
};

void contents_cancel(struct contents *contents)
{
	if (contents->fetch)
		fetch_cancel(contents->fetch);
	loop_timer_cancel(&contents->next);
	free(contents);
}

static void finish(struct contents *contents, const struct error *err)
{
	contents_fn *done = contents->done;
	void *ctx = contents->ctx;

	contents->fetch = NULL;
	contents_cancel(contents);
	done(ctx, err);
}

static void fail(struct contents *contents, int code, const char *sentence)
{
	struct error err;

	error_say(&err, code, "%s", sentence);
	finish(contents, &err);
}

static struct merge3_item *current(const struct contents *contents)
{
	return &contents->of.merge->items[contents->item];
}

static struct sandbox *machine(const struct contents *contents)
{
	return contents->of.sides[contents->side];
}

/* From the event loop: whoever calls back has done with its own things then. */
static void next_side(struct contents *contents)
{
	contents->side++;
	loop_timer_set(contents->of.sides[0]->core->loop, &contents->next, 0);
}

static void hash_on(struct contents *contents);

static void have_piece(void *ctx, struct buf *bytes, const struct error *err)
{
	struct contents *contents = ctx;
	struct merge3_item *item = current(contents);
	uint64_t *digest = &item->digest[contents->side];

	contents->fetch = NULL;
	if (!bytes) {
		finish(contents, err);
		return;
	}
	*digest = siphash_secret(*digest, buf_peek(bytes), bytes->len);
	contents->hashed += bytes->len;
	if (bytes->len == PIECE) {
		hash_on(contents);
		return;
	}
	item->digested |= 1u << contents->side;
	next_side(contents);
}

static void hash_on(struct contents *contents)
{
	struct fetch *fetch = fetch_part(machine(contents), current(contents)->path,
					 contents->hashed, PIECE, have_piece, contents);

	if (fetch)
		contents->fetch = fetch;
}

static void have_content(void *ctx, struct buf *bytes, const struct error *err)
{
	struct contents *contents = ctx;
	struct merge3_item *item = current(contents);

	contents->fetch = NULL;
	if (bytes) {
		item->content[contents->side] = *bytes;
		*bytes = (struct buf){0};
		item->have |= 1u << contents->side;
		next_side(contents);
	} else if (err->code == -EFBIG) {
		contents->hashed = 0;
		hash_on(contents);
	} else {
		finish(contents, err);
	}
}

static void read_file(struct contents *contents, struct sandbox *sb)
{
	struct fetch *fetch =
	    fetch_file(sb, current(contents)->path, CONTENT_MAX, have_content, contents);

	if (fetch)
		contents->fetch = fetch;
}

/* Ours may be what a fork before has brought. */
static void read_ours(struct contents *contents)
{
	struct merge3_item *item = current(contents);
	const struct change *change = changes_find(contents->of.changes, item->path);

	if (!change || !change->content) {
		read_file(contents, machine(contents));
	} else if (change->source) {
		read_file(contents, change->source);
	} else if (buf_append(&item->content[MERGE3_OURS], buf_peek(&change->bytes),
			      change->bytes.len) < 0) {
		fail(contents, ENOMEM, "no memory to merge files");
	} else {
		item->have |= 1u << MERGE3_OURS;
		next_side(contents);
	}
}

/* Return: false when all has ended. */
static bool decide(struct contents *contents, struct merge3_item *item)
{
	if (item->verdict == MERGE3_WANTS && merge3_decide(contents->of.merge, item) < 0) {
		fail(contents, ENOMEM, "no memory to merge files");
		return false;
	}
	*contents->of.merged += item->merged.len;
	if (*contents->of.merged > MERGED_MAX) {
		fail(contents, EFBIG, "both sides changed more than 64 MiB of text");
		return false;
	}
	return true;
}

/* Read what the next item wants; decide it when that is there. */
static void look(struct loop_timer *timer)
{
	struct contents *contents = container_of(timer, struct contents, next);
	struct merge3_item *item;

	while (contents->item < contents->of.merge->count) {
		item = current(contents);
		while (item->verdict == MERGE3_WANTS && contents->side < MERGE3_SIDES) {
			if (item->wanted & 1u << contents->side) {
				if (contents->side == MERGE3_OURS)
					read_ours(contents);
				else
					read_file(contents, machine(contents));
				return;
			}
			contents->side++;
		}
		if (!decide(contents, item))
			return;
		contents->item++;
		contents->side = MERGE3_BASE;
	}
	finish(contents, NULL);
}

struct contents *contents_begin(const struct contents_order *order, contents_fn *done,
				void *ctx)
{
	struct contents *contents = malloc(sizeof(*contents));

	if (!contents)
		return NULL;
	*contents = (struct contents){.of = *order, .done = done, .ctx = ctx};
	loop_timer_init(&contents->next, look);
	loop_timer_set(order->sides[0]->core->loop, &contents->next, 0);
	return contents;
}
