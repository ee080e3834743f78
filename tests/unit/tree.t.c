/*
 * The trees that a guest sends: what goes in comes out, sorted, and nothing malformed
 * is taken. Pairs of two trees over one image.
 */
#include "wire/tree.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <sys/stat.h>

static struct tree_state file_of(uint64_t ino)
{
	return (struct tree_state){.mode = S_IFREG | 0644,
				   .nlink = 1,
				   .uid = 2,
				   .gid = 3,
				   .ino = ino,
				   .size = 5000000000u,
				   .mtime_ns = -6,
				   .ctime_ns = 7};
}

static void put(struct buf *out, const char *path, struct tree_state now,
		struct tree_state below)
{
	tree_put(out, &(struct tree_entry){path, now, below});
}

static const struct tree_state nothing;

static struct tree tree_of(struct buf *bytes)
{
	struct error err;
	struct tree tree;

	ok(tree_parse(&tree, bytes, &err) == 0, "it is a tree");
	return tree;
}

static void test_round_trip(void)
{
	struct tree_state link = {.mode = S_IFLNK | 0777, .target = "to\nthere"};
	struct tree_state device = {.mode = S_IFCHR | 0600, .rdev = 0x103};
	const struct tree_entry *entry;
	struct buf bytes = {0};
	struct tree tree;

	put(&bytes, "b", file_of(11), nothing);
	put(&bytes, "a.c", nothing, link);
	put(&bytes, "a/x", link, file_of(12));
	put(&bytes, "\xff\n", device, nothing);
	put(&bytes, "a", (struct tree_state){.mode = S_IFDIR | 0755}, nothing);
	tree = tree_of(&bytes);
	is_int((int)tree.count, 5, "five entries");
	is_str(tree.entries[0].path, "a", "a directory comes first");
	is_str(tree.entries[1].path, "a/x", "then what is in it");
	is_str(tree.entries[2].path, "a.c", "then its sibling");
	is_str(tree.entries[4].path, "\xff\n", "a name may have any bytes");
	entry = tree_find(&tree, "b");
	ok(entry && entry->now.ino == 11 && entry->now.size == 5000000000u &&
	       entry->now.mtime_ns == -6 && entry->now.ctime_ns == 7 &&
	       entry->now.uid == 2 && entry->now.gid == 3 && !entry->below.mode,
	   "a file's attributes");
	is_str(tree.entries[1].now.target, "to\nthere", "a link's target");
	is_int((int)tree.entries[1].below.ino, 12, "and what the image has there");
	is_int((int)tree.entries[4].now.rdev, 0x103, "a device's number");
	ok(!tree_find(&tree, "a/y"), "what is not there is not found");
	tree_fini(&tree);
}

static void refused(struct buf *bytes, const char *what)
{
	struct error err = {0};
	struct tree tree;
	int r = tree_parse(&tree, bytes, &err);

	ok(r == -EPROTO && err.text[0] && !tree.count && !bytes->len, "%s", what);
	tree_fini(&tree);
}

static void test_malformed(void)
{
	struct buf bytes = {0}, cut = {0};
	struct tree_state odd = file_of(1), link = {.mode = S_IFLNK, .target = "t"};
	struct error err;
	struct tree tree;
	int taken = 0;

	for (size_t i = 0; i < 7; i++) {
		static const char *const bad[] = {"",	    "/a",  "a/",  "..",
						  "a/../b", "./a", "a//b"};

		put(&bytes, bad[i], file_of(1), nothing);
		refused(&bytes, bad[i]);
	}
	put(&bytes, "a", file_of(1), nothing);
	put(&bytes, "a", nothing, file_of(1));
	refused(&bytes, "the same path twice");
	put(&bytes, "a", nothing, nothing);
	refused(&bytes, "an entry of nothing");
	odd.mode = 0170000;
	put(&bytes, "a", odd, nothing);
	refused(&bytes, "a file of no type");
	put(&bytes, "a/b", link, file_of(1));
	for (size_t len = 1; len < bytes.len; len++) {
		buf_append(&cut, buf_peek(&bytes), len);
		if (tree_parse(&tree, &cut, &err) == 0)
			taken++;
		tree_fini(&tree);
	}
	is_int(taken, 0, "every truncation");
	bytes.data[bytes.head + 6] = 0;
	refused(&bytes, "a path with a NUL in it");
}

static void test_too_many(void)
{
	struct buf bytes = {0};
	struct error err = {0};
	struct tree tree;
	char path[16];
	int r;

	for (unsigned int i = 0; i <= TREE_ENTRIES_MAX; i++) {
		snprintf(path, sizeof(path), "%u", i);
		put(&bytes, path, (struct tree_state){.mode = S_IFDIR}, nothing);
	}
	r = tree_parse(&tree, &bytes, &err);
	ok(r == -EFBIG && err.text[0] && !tree.count, "too many files");
}

static void test_pairs(void)
{
	struct buf one = {0}, two = {0};
	struct tree_pair pair;
	struct tree a, b;
	struct tree_pairs pairs = {.from = &a, .to = &b};

	put(&one, "both", file_of(1), nothing);
	put(&two, "both", file_of(2), nothing);
	put(&one, "gone", nothing, file_of(3));
	put(&two, "new", file_of(4), nothing);
	a = tree_of(&one);
	b = tree_of(&two);
	ok(tree_pair_next(&pairs, &pair) && pair.from->ino == 1 && pair.to->ino == 2 &&
	       !pair.from_image && !pair.to_image,
	   "an entry in both");
	ok(tree_pair_next(&pairs, &pair) && !pair.from->mode && pair.to->ino == 3 &&
	       pair.to_image,
	   "where one has none, its file is the image's");
	ok(tree_pair_next(&pairs, &pair) && !pair.from->mode && pair.to->ino == 4 &&
	       pair.from_image,
	   "which may have none");
	ok(!tree_pair_next(&pairs, &pair), "that was all");
	tree_fini(&a);
	tree_fini(&b);
}

int main(void)
{
	test_round_trip();
	test_malformed();
	test_too_many();
	test_pairs();
	return done_testing();
}
