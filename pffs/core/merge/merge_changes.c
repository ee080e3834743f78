#include "pffs/core/merge/merge_changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct change *changes_find(const struct changes *changes, const char *path)
{
	for (size_t low = 0, high = changes->count; low < high;) {
		size_t mid = low + (high - low) / 2;
		int order = tree_path_compare(path, changes->list[mid].path);

		if (order == 0)
			return &changes->list[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

static void change_fini(struct change *change)
{
	free(change->path);
	free((char *)change->after.target);
	free((char *)change->before.target);
	sandbox_unref(change->source);
	buf_fini(&change->bytes);
}

void changes_fini(struct changes *changes)
{
	for (size_t i = 0; i < changes->count; i++)
		change_fini(&changes->list[i]);
	free(changes->list);
	*changes = (struct changes){0};
}

static int copy_state(struct tree_state *to, const struct tree_state *from)
{
	*to = *from;
	if (!from->target)
		return 0;
	to->target = strdup(from->target);
	return to->target ? 0 : -ENOMEM;
}

static int compare_changes(const void *a, const void *b)
{
	return tree_path_compare(((const struct change *)a)->path,
				 ((const struct change *)b)->path);
}

static void set_content(struct change *change, struct merge3_item *item,
			struct sandbox *source)
{
	if (item->verdict == MERGE3_ATTR)
		return;
	buf_fini(&change->bytes);
	sandbox_unref(change->source);
	change->source = NULL;
	change->content = item->result.mode;
	if (item->verdict == MERGE3_MERGED) {
		change->bytes = item->merged;
		item->merged = (struct buf){0};
	} else {
		change->source = sandbox_ref(source);
	}
}

static int replace_change(struct change *change, struct merge3_item *item,
			  struct sandbox *source)
{
	free((char *)change->after.target);
	set_content(change, item, source);
	return copy_state(&change->after, &item->result);
}

/* At the end of the list, where there is room. */
static int add_change(struct changes *changes, struct merge3_item *item,
		      struct sandbox *source)
{
	struct change *change = &changes->list[changes->count];
	int r;

	*change = (struct change){.path = strdup(item->path)};
	if (!change->path)
		return -ENOMEM;
	changes->count++;
	set_content(change, item, source);
	r = copy_state(&change->before, &item->state[MERGE3_OURS]);
	return r < 0 ? r : copy_state(&change->after, &item->result);
}

int changes_add(struct changes *changes, struct merge3 *merge, struct sandbox *source)
{
	const struct changes before = *changes;
	struct change *grown =
	    reallocarray(changes->list, changes->count + merge->count + 1, sizeof(*grown));
	int r = 0;

	if (!grown)
		return -ENOMEM;
	changes->list = grown;
	for (size_t i = 0; i < merge->count && r == 0; i++) {
		struct merge3_item *item = &merge->items[i];
		struct change *change =
		    changes_find(&(struct changes){grown, before.count}, item->path);

		if (item->verdict == MERGE3_KEEP)
			continue;
		r = change ? replace_change(change, item, source)
			   : add_change(changes, item, source);
	}
	qsort(changes->list, changes->count, sizeof(*changes->list), compare_changes);
	return r;
}

int changes_tree(const struct changes *changes, const struct tree *tree, struct tree *to,
		 struct error *err)
{
	struct buf bytes = {0};
	int r = 0;

	for (size_t i = 0; i < tree->count && r == 0; i++)
		if (!changes_find(changes, tree->entries[i].path))
			r = tree_put(&bytes, &tree->entries[i]);
	for (size_t i = 0; i < changes->count && r == 0; i++) {
		const struct change *change = &changes->list[i];
		const struct tree_entry *entry = tree_find(tree, change->path);
		struct tree_entry now = {.path = change->path,
					 .now = change->after,
					 .below = entry ? entry->below : change->before};

		if (now.now.mode || now.below.mode)
			r = tree_put(&bytes, &now);
	}
	if (r == 0)
		return tree_parse(to, &bytes, err);
	buf_fini(&bytes);
	return error_set(err, ENOMEM, "cannot merge");
}
