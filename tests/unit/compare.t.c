/*
 * What two trees tell of what is different, and how it is printed.
 */
#include "pffs/core/diff/compare.h"
#include "pffs/core/diff/quote.h"
#include "tests/unit/tap.h"

#include <sys/stat.h>

static const struct tree_state nothing;

static struct tree_state file_of(uint64_t ino, uint64_t size, int64_t time)
{
	return (struct tree_state){.mode = S_IFREG | 0644,
				   .nlink = 1,
				   .ino = ino,
				   .size = size,
				   .mtime_ns = time,
				   .ctime_ns = time};
}

static void put(struct buf *out, const char *path, struct tree_state now,
		struct tree_state below)
{
	tree_put(out, &(struct tree_entry){path, now, below});
}

static struct tree tree_of(struct buf *bytes)
{
	struct error err;
	struct tree tree;

	ok(tree_parse(&tree, bytes, &err) == 0, "it is a tree");
	return tree;
}

static enum difference found(const struct comparison *result, const char *path)
{
	for (size_t i = 0; i < result->count; i++)
		if (strcmp(result->list[i].pair.path, path) == 0)
			return result->list[i].is;
	return EQUAL;
}

static void test_verdicts(void)
{
	const struct tree_state one = file_of(1, 5, 10), image = file_of(77, 5, 3);
	struct tree_state other = one, link = {.mode = S_IFLNK | 0777, .target = "a"};
	struct buf from = {0}, to = {0};
	struct comparison result;
	struct tree a, b;

	put(&from, "same", one, nothing);
	put(&to, "same", one, nothing);
	put(&from, "gone", one, nothing);
	put(&to, "new", one, nothing);
	put(&from, "time", one, nothing);
	put(&to, "time", file_of(1, 5, 11), nothing);
	put(&from, "size", one, nothing);
	put(&to, "size", file_of(1, 6, 10), nothing);
	other.uid = 9;
	put(&from, "owner", one, nothing);
	put(&to, "owner", other, nothing);
	put(&to, "copied-up", file_of(1, 5, 3), image);
	put(&to, "removed", nothing, image);
	put(&from, "removed-there", nothing, image);
	put(&from, "link", link, nothing);
	link.target = "b";
	put(&to, "link", link, nothing);
	put(&from, "type", link, nothing);
	put(&to, "type", one, nothing);
	put(&from, "empty", file_of(1, 0, 1), nothing);
	put(&to, "empty", file_of(2, 0, 2), nothing);
	put(&from, "last", file_of(1, 5, 200000000), nothing);
	put(&to, "last", file_of(1, 5, 200000000), nothing);
	a = tree_of(&from);
	b = tree_of(&to);
	compare_trees(&a, &b, NULL, &result);
	is_int(found(&result, "last"), SUSPECTED, "of the newest time, perhaps the fork's");
	is_int(found(&result, "same"), EQUAL, "what was copied with the disk");
	is_int(found(&result, "gone"), REMOVED, "in one alone");
	is_int(found(&result, "new"), ADDED, "in the other alone");
	is_int(found(&result, "time"), SUSPECTED, "of one size and another time");
	is_int(found(&result, "size"), MODIFIED, "of another size");
	is_int(found(&result, "owner"), MODIFIED, "of another owner");
	is_int(found(&result, "copied-up"), SUSPECTED, "copied up from the image");
	is_int(found(&result, "removed"), REMOVED, "of the image, removed in one");
	is_int(found(&result, "removed-there"), ADDED, "or in the other");
	is_int(found(&result, "link"), MODIFIED, "a link to elsewhere");
	is_int(found(&result, "type"), MODIFIED, "of another type");
	is_int(found(&result, "empty"), EQUAL, "two empty files");
	comparison_fini(&result);
	tree_fini(&a);
	tree_fini(&b);
}

static size_t count_of(const struct tree *from, const struct tree *to, const char *paths)
{
	struct comparison result;
	size_t count;

	compare_trees(from, to, paths, &result);
	count = result.count;
	comparison_fini(&result);
	return count;
}

static void test_paths(void)
{
	struct buf bytes = {0};
	struct tree empty = {0}, tree;

	put(&bytes, "root", file_of(1, 1, 1), nothing);
	put(&bytes, "root/a", file_of(2, 1, 1), nothing);
	put(&bytes, "rooted", file_of(3, 1, 1), nothing);
	put(&bytes, "tmp/x", file_of(4, 1, 1), nothing);
	tree = tree_of(&bytes);
	is_int((int)count_of(&empty, &tree, NULL), 4, "all");
	is_int((int)count_of(&empty, &tree, ""), 4, "no path is all");
	is_int((int)count_of(&empty, &tree, "/root\n"), 2, "a path and what is below");
	is_int((int)count_of(&empty, &tree, "root/\n\n/tmp"), 3, "several");
	is_int((int)count_of(&empty, &tree, "roo\n"), 0, "not what begins with it");
	is_int((int)count_of(&empty, &tree, "tmp/x\nrooted\n/\nroot/a\nroot\nroot/a"), 4,
	       "in any order, also twice and in one another");
	tree_fini(&tree);
}

static void test_whole(void)
{
	struct buf image = {0}, change = {0};
	struct tree whole, tree;

	put(&image, "a", file_of(1, 1, 1), nothing);
	put(&image, "b", file_of(2, 1, 1), nothing);
	put(&image, "c", file_of(3, 1, 1), nothing);
	put(&change, "a", file_of(9, 2, 2), file_of(1, 1, 1));
	put(&change, "b", nothing, file_of(2, 1, 1));
	put(&change, "d", file_of(8, 1, 1), nothing);
	whole = tree_of(&image);
	tree = tree_of(&change);
	is_int(compare_whole(&tree, &whole), 0, "a tree over its image");
	is_int((int)tree.count, 3, "has what is there");
	ok(tree_find(&tree, "a")->now.ino == 9 && !tree_find(&tree, "b") &&
	       tree_find(&tree, "c")->now.ino == 0 && tree_find(&tree, "d")->now.ino == 8,
	   "changed, removed, the image's and new");
	tree_fini(&tree);
	tree_fini(&whole);
}

static void quoted(void (*print)(FILE *out, const char *text), const char *text,
		   const char *want)
{
	char *got = NULL;
	size_t len;
	FILE *out = open_memstream(&got, &len);

	print(out, text);
	fclose(out);
	is_str(got, want, "%s", want);
	free(got);
}

static void as_git(FILE *out, const char *text)
{
	quote_path(out, "a/", text);
}

static void test_names(void)
{
	quoted(as_git, "plain name", "a/plain name");
	quoted(as_git, "a\nb\t\"\\", "\"a/a\\nb\\t\\\"\\\\\"");
	quoted(as_git, "\xc3\xa9\x01\x7f", "\"a/\\303\\251\\001\\177\"");
	quoted(quote_json, "a\"\\\n", "\"a\\\"\\\\\\u000a\"");
	quoted(quote_json, "\xc3\xa9", "\"\xc3\xa9\"");
	quoted(quote_json, "\xff\xc3", "\"\\udcff\\udcc3\"");
	quoted(quote_json, "\xed\xa0\x80", "\"\\udced\\udca0\\udc80\"");
	quoted(quote_json, "\xc0\xaf", "\"\\udcc0\\udcaf\"");
	quoted(quote_json, "\xf0\x9f\x98\x80\xf4\x90\x80\x80",
	       "\"\xf0\x9f\x98\x80\\udcf4\\udc90\\udc80\\udc80\"");
}

int main(void)
{
	test_verdicts();
	test_paths();
	test_whole();
	test_names();
	return done_testing();
}
