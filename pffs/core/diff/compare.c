#include "pffs/core/diff/compare.h"

#include "pffs/core/diff/quote.h"
#include "pffs/core/diff/same.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_device(uint32_t mode)
{
	return S_ISCHR(mode) || S_ISBLK(mode);
}

/* All of what the trees tell of two that are there. */
static bool may_be_same(const struct tree_state *a, const struct tree_state *b)
{
	if (!same_attributes(a, b))
		return false;
	if (is_device(a->mode))
		return a->rdev == b->rdev;
	if (S_ISLNK(a->mode))
		return strcmp(a->target, b->target) == 0;
	return !S_ISREG(a->mode) || a->size == b->size;
}

static enum difference compare_pair(const struct tree_pair *pair, int64_t doubt)
{
	if (!pair->from->mode)
		return pair->to->mode ? ADDED : EQUAL;
	if (!pair->to->mode)
		return REMOVED;
	if (!may_be_same(pair->from, pair->to))
		return MODIFIED;
	if (!S_ISREG(pair->to->mode) || !pair->to->size ||
	    same_untouched(pair->from, pair->to, doubt))
		return EQUAL;
	return SUSPECTED;
}

/* The paths to which a comparison is restricted, in the order of a tree. */
struct wanted {
	char *text; /* which they point into */
	const char **tops;
	size_t count, at;
};

static void wanted_fini(struct wanted *wanted)
{
	free(wanted->text);
	free(wanted->tops);
}

static int compare_tops(const void *a, const void *b)
{
	return tree_path_compare(*(const char *const *)a, *(const char *const *)b);
}

/* Without the slashes around it, unless nothing is left. */
static void add_top(struct wanted *wanted, char *line)
{
	size_t len;

	line += strspn(line, "/");
	len = strlen(line);
	while (len && line[len - 1] == '/')
		line[--len] = '\0';
	if (len)
		wanted->tops[wanted->count++] = line;
}

static int wanted_init(struct wanted *wanted, const char *paths)
{
	size_t lines = 1;
	char *rest, *line;

	*wanted = (struct wanted){.text = strdup(paths ? paths : "")};
	for (const char *at = wanted->text; at && *at; at++)
		lines += *at == '\n';
	wanted->tops = reallocarray(NULL, lines, sizeof(*wanted->tops));
	if (!wanted->text || !wanted->tops) {
		wanted_fini(wanted);
		return -ENOMEM;
	}
	rest = wanted->text;
	while ((line = strsep(&rest, "\n")))
		add_top(wanted, line);
	qsort(wanted->tops, wanted->count, sizeof(*wanted->tops), compare_tops);
	return 0;
}

/* Is @path one of them, or below one? Asked of one path after the other, in order. */
static bool is_wanted(struct wanted *wanted, const char *path)
{
	for (; wanted->at < wanted->count; wanted->at++) {
		const char *top = wanted->tops[wanted->at];

		if (tree_path_is_below(path, top))
			return true;
		if (tree_path_compare(path, top) < 0)
			return false;
	}
	return !wanted->count;
}

static int add(struct comparison *result, size_t *room, const struct compared *one)
{
	struct compared *grown;

	if (result->count == *room) {
		*room = *room ? 2 * *room : 64;
		grown = reallocarray(result->list, *room, sizeof(*one));
		if (!grown)
			return -ENOMEM;
		result->list = grown;
	}
	result->list[result->count++] = *one;
	return 0;
}

int compare_trees(const struct tree *from, const struct tree *to, const char *paths,
		  struct comparison *result)
{
	struct tree_pairs pairs = {.from = from, .to = to};
	int64_t doubt = same_doubt(from, to);
	struct compared one = {0};
	struct wanted wanted;
	size_t room = 0;
	int r = wanted_init(&wanted, paths);

	*result = (struct comparison){0};
	if (r < 0)
		return r;
	while (r == 0 && tree_pair_next(&pairs, &one.pair)) {
		one.is = compare_pair(&one.pair, doubt);
		if (one.is != EQUAL && is_wanted(&wanted, one.pair.path))
			r = add(result, &room, &one);
	}
	wanted_fini(&wanted);
	return r;
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

static void move_piece(struct compared *one, FILE *out)
{
	fwrite(one->piece, 1, one->piece_len, out);
	free(one->piece);
	one->piece = NULL;
	one->piece_len = 0;
}

void comparison_patch(struct comparison *result, FILE *out)
{
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < result->count; i++)
			if ((result->list[i].is == REMOVED) == (pass == 0))
				move_piece(&result->list[i], out);
}

void comparison_fini(struct comparison *result)
{
	for (size_t i = 0; i < result->count; i++)
		free(result->list[i].piece);
	free(result->list);
	*result = (struct comparison){0};
}
