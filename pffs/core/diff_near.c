/*
 * Theory of operation
 *
 * Two machines that were one until a moment (pffs/core/lineage.h) need not be looked at
 * as a whole. Each guest is asked what changed in it since, as picks: files, and
 * directories in which names came or went. Then both tell of all that either has picked,
 * and of nothing else; outside of that they are the same.
 *
 * What is below a directory that was made, removed or renamed as a whole does not show in
 * this. So where one side has a directory and the other has not that very one, all below
 * it is picked as well, and both are asked a second time.
 *
 * Wherever a guest does not know, or there is too much of it, both are asked for all.
 */
#include "pffs/core/diff_parts.h"

#include "pffs/core/files.h"
#include "pffs/core/lineage.h"
#include "pffs/core/twin.h"
#include "wire/picks.h"

#include <string.h>
#include <sys/stat.h>

int64_t diff_parted(const struct side *from, const struct side *to)
{
	int64_t moment;

	if (from->of == DIFF_TEMPLATE || to->of == DIFF_TEMPLATE)
		return 0;
	if (from->of == DIFF_NOW && to->of == DIFF_NOW)
		moment = lineage_parted(from->sb->lineage, to->sb->lineage);
	else
		moment = from->sb == to->sb ? twin_moment(from->sb) : 0;
	return moment == INT64_MAX ? 0 : moment;
}

static bool is_whole(struct picks *picks, const struct buf *bytes)
{
	return bytes->len <= FILES_IO_MAX &&
	       picks_parse(picks, buf_peek(bytes), bytes->len) == 0;
}

static void need_both(struct diff *diff)
{
	diff_need_tree(&diff->from);
	diff_need_tree(&diff->to);
}

static void give_up(struct diff *diff)
{
	diff->moment = 0;
	buf_fini(&diff->picks);
	need_both(diff);
}

static bool same_machines(const struct diff *diff)
{
	return diff->parted == diff_parted(&diff->from, &diff->to);
}

/* Both have answered. With nothing to look at, both trees are empty. */
static void have_both(struct diff *diff)
{
	struct picks picks = {0};

	if (diff->done)
		return;
	if (diff->unknown || !same_machines(diff) || !is_whole(&picks, &diff->picks))
		give_up(diff);
	else if (picks.count)
		need_both(diff);
	picks_fini(&picks);
}

static void have_since(void *ctx, const struct files_reply *reply)
{
	struct side *side = ctx;
	struct diff *diff = side->diff;
	struct picks picks = {0};

	side->since = NULL;
	if (reply->error || picks_parse(&picks, reply->data, reply->data_len) < 0 ||
	    buf_append(&diff->picks, reply->data, reply->data_len) < 0)
		diff->unknown = true;
	picks_fini(&picks);
	if (!diff->from.since && !diff->to.since)
		have_both(diff);
	diff_settle(diff);
}

static void ask(struct side *side)
{
	struct diff *diff = side->diff;
	const struct files_request request = {.op = FILES_SINCE,
					      .offset = (uint64_t)diff->moment};

	if (files_request(side->machine, &request, have_since, side, &side->since) == 0)
		diff_expect(diff);
	else
		diff->unknown = true;
}

void diff_need_trees(struct diff *diff)
{
	if (diff->done)
		return;
	if (!diff->moment) {
		need_both(diff);
		return;
	}
	ask(&diff->from);
	ask(&diff->to);
	if (!diff->from.since && !diff->to.since)
		have_both(diff);
}

static bool is_one_directory(const struct tree_pair *pair)
{
	return S_ISDIR(pair->from->mode) && S_ISDIR(pair->to->mode) && !pair->from_image &&
	       !pair->to_image && pair->from->ino == pair->to->ino;
}

/* All of what is below a directory that only one of them has. Return: 0 or -ENOMEM. */
static int pick_more(struct diff *diff, const struct picks *picks)
{
	struct tree_pairs pairs = {.from = &diff->from.tree, .to = &diff->to.tree};
	struct tree_pair pair;
	int r = 0;

	while (r == 0 && tree_pair_next(&pairs, &pair))
		if ((S_ISDIR(pair.from->mode) || S_ISDIR(pair.to->mode)) &&
		    !is_one_directory(&pair) && !picks_has_all(picks, pair.path))
			r = picks_put(&diff->picks, pair.path, PICK_ALL);
	return r;
}

bool diff_look_again(struct diff *diff)
{
	size_t before = diff->picks.len;
	struct picks picks;

	if (!diff->moment || diff->again ||
	    picks_parse(&picks, buf_peek(&diff->picks), before) < 0)
		return false;
	diff->again = true;
	diff->unknown = pick_more(diff, &picks) < 0;
	picks_fini(&picks);
	if (!diff->unknown && diff->picks.len == before && same_machines(diff))
		return false;
	tree_fini(&diff->from.tree);
	tree_fini(&diff->to.tree);
	have_both(diff);
	return true;
}
