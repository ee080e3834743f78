#include "pffs/core/compare.h"

#include "pffs/core/quote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_device(uint32_t mode)
{
	return S_ISCHR(mode) || S_ISBLK(mode);
}

/* Inode 0 is the image's: of two images, files of one size and time are taken for the
 * same, as rsync does. */
static bool is_untouched(const struct tree_pair *pair)
{
	const struct tree_state *a = pair->from, *b = pair->to;

	if (a->size != b->size || a->mtime_ns != b->mtime_ns || a->ino != b->ino)
		return false;
	return !a->ino || a->ctime_ns == b->ctime_ns;
}

static bool same_attributes(const struct tree_state *a, const struct tree_state *b)
{
	if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid)
		return false;
	if (is_device(a->mode))
		return a->rdev == b->rdev;
	if (S_ISLNK(a->mode))
		return strcmp(a->target, b->target) == 0;
	return !S_ISREG(a->mode) || a->size == b->size;
}

static enum difference compare_pair(const struct tree_pair *pair)
{
	if (!pair->from->mode)
		return pair->to->mode ? ADDED : EQUAL;
	if (!pair->to->mode)
		return REMOVED;
	if (!same_attributes(pair->from, pair->to))
		return MODIFIED;
	if (!S_ISREG(pair->to->mode) || !pair->to->size || is_untouched(pair))
		return EQUAL;
	return SUSPECTED;
}

static bool is_below(const char *path, const char *top, size_t len)
{
	return strncmp(path, top, len) == 0 && (!path[len] || path[len] == '/');
}

/* Is @path one of @paths, or below one? */
static bool is_wanted(const char *path, const char *paths)
{
	size_t len;
	bool any = false;

	for (; paths && *paths; paths += len + (paths[len] == '\n')) {
		paths += strspn(paths, "/");
		len = strcspn(paths, "\n");
		any |= len > 0;
		for (size_t end = len; end; end--)
			if (paths[end - 1] != '/') {
				if (is_below(path, paths, end))
					return true;
				break;
			}
	}
	return !any;
}

int compare_trees(const struct tree *from, const struct tree *to, const char *paths,
		  struct comparison *result)
{
	struct tree_pairs pairs = {.from = from, .to = to};
	struct compared one = {0};
	size_t room = 0;

	*result = (struct comparison){0};
	while (tree_pair_next(&pairs, &one.pair)) {
		one.is = compare_pair(&one.pair);
		if (one.is == EQUAL || !is_wanted(one.pair.path, paths))
			continue;
		if (result->count == room) {
			struct compared *grown;

			room = room ? 2 * room : 64;
			grown = reallocarray(result->list, room, sizeof(one));
			if (!grown)
				return -ENOMEM;
			result->list = grown;
		}
		result->list[result->count++] = one;
	}
	return 0;
}

int compare_whole(struct tree *tree, const struct tree *image)
{
	struct tree_entry *whole =
	    calloc(tree->count + image->count + 1, sizeof(struct tree_entry));
	struct tree_pairs pairs = {.from = image, .to = tree};
	struct tree_pair pair;
	size_t count = 0;

	if (!whole)
		return -ENOMEM;
	while (tree_pair_next(&pairs, &pair)) {
		const struct tree_state *now = pair.to_image ? pair.from : pair.to;

		if (!now->mode)
			continue;
		whole[count] = (struct tree_entry){.path = pair.path, .now = *now};
		if (pair.to_image)
			whole[count].now.ino = 0;
		count++;
	}
	free(tree->entries);
	tree->entries = whole;
	tree->count = count;
	return 0;
}

void comparison_list(const struct comparison *result, FILE *out)
{
	static const char *const letters[] = {
	    [ADDED] = "A ", [REMOVED] = "D ", [MODIFIED] = "M "};

	for (size_t i = 0; i < result->count; i++) {
		if (result->list[i].is > MODIFIED)
			continue;
		fputs(letters[result->list[i].is], out);
		quote_path(out, "", result->list[i].pair.path);
		fputc('\n', out);
	}
}

static void print_array(const struct comparison *result, enum difference is, FILE *out)
{
	const char *comma = "";

	fputc('[', out);
	for (size_t i = 0; i < result->count; i++) {
		if (result->list[i].is != is)
			continue;
		fputs(comma, out);
		quote_json(out, result->list[i].pair.path);
		comma = ", ";
	}
	fputc(']', out);
}

void comparison_json(const struct comparison *result, FILE *out)
{
	fputs("{\"added\": ", out);
	print_array(result, ADDED, out);
	fputs(", \"removed\": ", out);
	print_array(result, REMOVED, out);
	fputs(", \"modified\": ", out);
	print_array(result, MODIFIED, out);
	fputs("}\n", out);
}

void comparison_patch(const struct comparison *result, FILE *out)
{
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < result->count; i++)
			if ((result->list[i].is == REMOVED) == (pass == 0))
				fwrite(result->list[i].piece, 1, result->list[i].piece_len,
				       out);
}

void comparison_fini(struct comparison *result)
{
	for (size_t i = 0; i < result->count; i++)
		free(result->list[i].piece);
	free(result->list);
	*result = (struct comparison){0};
}
