/*
 * Theory of operation
 *
 * Two machines that were one until a moment (pffs/core/diff/lineage.h) need not be looked
 * at as a whole. Each guest is asked what changed in it since, as picks: files, and
 * directories in which names came or went. Then both tell of all that either has picked,
 * and of nothing else; outside of that they are the same.
 *
 * What is below a directory that was made, removed or renamed as a whole does not show in
 * this. So where one side has a directory and the other has not that very one, all below
 * it is picked as well, and both are asked a second time.
 *
 * Wherever a guest does not know, or there is too much of it, both are asked for all. So
 * they are when a sandbox has got another machine since it was asked, by a merge, say: of
 * what the one has changed the other knows nothing.
 */
#include "pffs/core/diff/diff_parts.h"

#include "pffs/core/diff/lineage.h"
#include "pffs/core/files/files.h"
#include "pffs/core/twin.h"
#include "wire/picks.h"

#include <errno.h>
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
	tree_fini(&diff->from.tree);
	tree_fini(&diff->to.tree);
	diff_need_tree(&diff->from);
	diff_need_tree(&diff->to);
}

static void give_up(struct diff *diff)
{
	diff->moment = 0;
	buf_fini(&diff->picks);
	need_both(diff);
}

/* Are they those that said what to look at, and was that since they parted? */
static bool same_machines(const struct diff *diff)
{
	return diff->from.machine->vm == diff->from.vm &&
	       diff->to.machine->vm == diff->to.vm &&
	       diff->parted == diff_parted(&diff->from, &diff->to);
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
	side->vm = side->machine->vm;
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

static bool are_apart(const struct tree_pair *pair)
{
	return (S_ISDIR(pair->from->mode) || S_ISDIR(pair->to->mode)) &&
	       !is_one_directory(pair);
}

/* All of what is below a directory that only one of them has. Return: 0, -ENOMEM, or
 * -EFBIG: no guest takes so many. */
static int find_more(const struct diff *diff, const struct picks *picks, struct buf *more)
{
	struct tree_pairs pairs = {.from = &diff->from.tree, .to = &diff->to.tree};
	struct picks_sweep sweep = {.picks = picks};
	struct tree_pair pair;
	int r = 0;

	while (r == 0 && tree_pair_next(&pairs, &pair)) {
		if (are_apart(&pair) && !picks_sweep_all(&sweep, pair.path))
			r = picks_put(more, pair.path, PICK_ALL);
		if (diff->picks.len + more->len > FILES_IO_MAX)
			r = -EFBIG;
	}
	return r;
}

/* Apart from the picks that there are, for they point into diff->picks. */
static int pick_more(struct diff *diff)
{
	struct buf more = {0};
	struct picks picks;
	int r = picks_parse(&picks, buf_peek(&diff->picks), diff->picks.len);

	if (r == 0)
		r = find_more(diff, &picks, &more);
	picks_fini(&picks);
	if (r == 0 && more.len)
		r = buf_append(&diff->picks, buf_peek(&more), more.len);
	diff->more = more.len;
	buf_fini(&more);
	return r;
}

static void look(struct work *work)
{
	struct diff *diff = container_of(work, struct diff, work);

	diff->unknown = pick_more(diff) < 0;
}

static void have_looked(struct work *work)
{
	struct diff *diff = container_of(work, struct diff, work);

	if (diff->done || diff->unknown || diff->more || !same_machines(diff))
		have_both(diff);
	else
		diff_compare(diff);
	diff_settle(diff);
}

void diff_have_trees(struct diff *diff)
{
	if (diff->moment && !diff->again) {
		diff->again = true;
		diff_work(diff, look, have_looked);
	} else if (diff->moment && !same_machines(diff)) {
		give_up(diff);
	} else {
		diff_compare(diff);
	}
}
