/*
 * Since when machines are not one any more, and picks: what of their trees is looked at.
 */
#include "pffs/core/diff/lineage.h"
#include "tests/unit/tap.h"
#include "wire/picks.h"

#include <errno.h>

static void moments(void)
{
	struct lineage *demo = lineage_new(NULL, 0);
	struct lineage *a = lineage_new(demo, 10), *b = lineage_new(demo, 20);
	struct lineage *below_a = lineage_new(a, 30), *unknown = lineage_new(demo, 0);
	struct lineage *below_unknown = lineage_new(unknown, 40),
		       *other = lineage_new(NULL, 0);

	is_int(lineage_parted(demo, a), 10,
	       "a fork and its parent parted when it was made");
	is_int(lineage_parted(a, demo), 10, "the other way round as well");
	is_int(lineage_parted(a, b), 10, "siblings when the first of them was made");
	is_int(lineage_parted(below_a, b), 10, "and so what came of it");
	is_int(lineage_parted(below_a, a), 30, "a fork of a fork later");
	is_int(lineage_parted(below_a, demo), 10, "than its parent");
	is_int(lineage_parted(unknown, a), 0, "where no moment was told, none is known");
	is_int(lineage_parted(below_unknown, unknown), 40, "but below it");
	is_int(lineage_parted(below_unknown, demo), 0, "and not above");
	is_int(lineage_parted(demo, other), 0, "strangers were never one");
	is_int(lineage_parted(NULL, demo), 0, "nor is of one that nobody knows");
	lineage_unref(demo);
	lineage_unref(a);
	is_int(lineage_parted(below_a, b), 10, "machines that ended do not matter");
	lineage_unref(b);
	lineage_unref(below_a);
	lineage_unref(below_unknown);
	lineage_unref(unknown);
	lineage_unref(other);
	lineage_unref(NULL);
}

/* What is picked whole, as a sweep finds it. */
static void sweep(void)
{
	static const struct {
		const char *path;
		bool all;
	} paths[] = {
	    {"a", false},     {"a/a", false},  {"a/b", true},  {"a/b/c/d", true},
	    {"a/b/c.", true}, {"a/b!", false}, {"a/c", false}, {"b", false},
	    {"b/x", false},   {"c", false},    {"d/e", true},  {"d/e/f", true},
	    {"d/f", false},   {"e", true},     {"f", false},
	};
	static const char *const whole[] = {"d/e", "e", "a/b", "a/b/c/d", "a/b/x", "bb"};
	struct picks_sweep sweep;
	struct buf bytes = {0};
	struct picks picks;

	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		picks_put(&bytes, whole[i], PICK_ALL);
	picks_put(&bytes, "a", PICK_NAMES);
	picks_put(&bytes, "b", PICK_NAMES);
	picks_put(&bytes, "f", PICK_NAME);
	is_int(picks_parse(&picks, buf_peek(&bytes), bytes.len), 0, "picks are swept");
	sweep = (struct picks_sweep){.picks = &picks};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		ok(picks_sweep_all(&sweep, paths[i].path) == paths[i].all, "%s is%s",
		   paths[i].path, paths[i].all ? " picked whole" : " not");
	picks_fini(&picks);
	buf_fini(&bytes);
}

static void picks(void)
{
	struct picks_sweep sweep;
	struct picks picks;
	struct buf bytes = {0};

	picks_put(&bytes, "b", PICK_NAME);
	picks_put(&bytes, "a/b", PICK_ALL);
	picks_put(&bytes, "a", PICK_NAMES);
	picks_put(&bytes, "b", PICK_NAMES);
	is_int(picks_parse(&picks, buf_peek(&bytes), bytes.len), 0, "picks are understood");
	is_int((long)picks.count, 3, "a path is there once");
	is_str(picks.list[0].path, "a", "they are in the order of a tree");
	is_int(picks.list[2].how, PICK_NAMES, "and a path is picked for the most");
	is_int((long)picks_at(&picks, "a/c"), 2,
	       "who looks for a path finds where it would be");
	picks_fini(&picks);
	is_int(picks_parse(&picks, buf_peek(&bytes), bytes.len - 1), -EPROTO,
	       "half a pick is none");
	buf_fini(&bytes);
	picks_put(&bytes, "", PICK_ALL);
	is_int(picks_parse(&picks, buf_peek(&bytes), bytes.len), 0,
	       "the root can be picked");
	sweep = (struct picks_sweep){.picks = &picks};
	ok(picks_sweep_all(&sweep, "any"), "which is all");
	ok(picks_sweep_all(&sweep, "any/more"), "to the end");
	picks_fini(&picks);
	buf_fini(&bytes);
	picks_put(&bytes, "a/../b", PICK_NAME);
	is_int(picks_parse(&picks, buf_peek(&bytes), bytes.len), -EPROTO, "a path is one");
	buf_fini(&bytes);
	is_int(picks_parse(&picks, NULL, 0), 0, "there may be none");
	picks_fini(&picks);
}

int main(void)
{
	moments();
	picks();
	sweep();
	return done_testing();
}
