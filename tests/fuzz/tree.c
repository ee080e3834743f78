/*
 * Fuzz target: a guest's tree of changes. What is taken is sorted and found, and encodes
 * to as many bytes; and it can be paired with a part of itself.
 */
#include "wire/tree.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entries(const struct tree *tree)
{
	struct buf again = {0};

	for (size_t i = 0; i < tree->count; i++) {
		if (tree_find(tree, tree->entries[i].path) != &tree->entries[i])
			abort();
		tree_put(&again, &tree->entries[i]);
	}
	if (again.len != tree->bytes.len)
		abort();
	buf_fini(&again);
}

static void check_pairs(const struct tree *tree)
{
	const struct tree half = {.entries = tree->entries, .count = tree->count / 2};
	struct tree_pairs pairs = {.from = &half, .to = tree};
	struct tree_pair pair;
	size_t count = 0;

	while (tree_pair_next(&pairs, &pair))
		count++;
	if (count != tree->count)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf bytes = {0};
	struct error err;
	struct tree tree;

	buf_append(&bytes, data, size);
	if (tree_parse(&tree, &bytes, &err) == 0) {
		check_entries(&tree);
		check_pairs(&tree);
	}
	tree_fini(&tree);
	buf_fini(&bytes);
	return 0;
}
