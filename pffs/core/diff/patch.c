#include "pffs/core/diff/patch.h"

#include "pffs/core/diff/quote.h"

#include <errno.h>
#include <git2.h>
#include <string.h>
#include <sys/stat.h>

bool patch_needs(const struct tree_state *state)
{
	return S_ISREG(state->mode);
}

/* As in a patch, or 0 for what has no place in one. */
static unsigned int mode_of(const struct tree_state *state)
{
	if (S_ISLNK(state->mode))
		return S_IFLNK;
	return S_ISREG(state->mode) ? S_IFREG | (state->mode & 0777) : 0;
}

static int print_line(const git_diff_delta *delta, const git_diff_hunk *hunk,
		      const git_diff_line *line, void *out)
{
	(void)delta;
	(void)hunk;
	if (line->origin == GIT_DIFF_LINE_FILE_HDR)
		return 0;
	if (line->origin == GIT_DIFF_LINE_CONTEXT ||
	    line->origin == GIT_DIFF_LINE_ADDITION ||
	    line->origin == GIT_DIFF_LINE_DELETION)
		fputc(line->origin, out);
	fwrite(line->content, 1, line->content_len, out);
	return 0;
}

static int print_hunks(FILE *out, const struct patch_content *from,
		       const struct patch_content *to)
{
	git_diff_options options;
	git_patch *patch = NULL;
	int r;

	git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
	options.flags = GIT_DIFF_FORCE_TEXT;
	r = git_patch_from_buffers(&patch, from->data ? from->data : "", from->len, NULL,
				   to->data ? to->data : "", to->len, NULL, &options);
	if (r == 0)
		r = git_patch_print(patch, print_line, out);
	git_patch_free(patch);
	return r < 0 ? -ENOMEM : 0;
}

static size_t count_lines(const struct patch_content *content)
{
	const char *at = content->data, *end = at + content->len;
	size_t lines = 0;

	for (; at < end; lines++) {
		at = memchr(at, '\n', (size_t)(end - at));
		at = at ? at + 1 : end;
	}
	return lines;
}

static void print_range(FILE *out, char sign, size_t lines)
{
	fprintf(out, " %c%d,%zu", sign, lines ? 1 : 0, lines);
}

static void print_all(FILE *out, char sign, const struct patch_content *content)
{
	const char *at = content->data, *end = at + content->len, *newline;

	while (at < end) {
		newline = memchr(at, '\n', (size_t)(end - at));
		fputc(sign, out);
		fwrite(at, 1, (size_t)((newline ? newline + 1 : end) - at), out);
		if (!newline)
			fputs("\n\\ No newline at end of file\n", out);
		at = newline ? newline + 1 : end;
	}
}

/* All of the one goes and all of the other comes. */
static void print_whole(FILE *out, const struct patch_content *from,
			const struct patch_content *to)
{
	fputs("@@", out);
	print_range(out, '-', count_lines(from));
	print_range(out, '+', count_lines(to));
	fputs(" @@\n", out);
	print_all(out, '-', from);
	print_all(out, '+', to);
}

static void print_side(FILE *out, const char *prefix, const char *path, bool exists)
{
	if (exists)
		quote_path(out, prefix, path);
	else
		fputs("/dev/null", out);
}

/* git ends a name with a tab where it has a space, for the sake of patch(1). */
static void print_name(FILE *out, const char *mark, const char *prefix, const char *path,
		       bool exists)
{
	fputs(mark, out);
	print_side(out, prefix, path, exists);
	fputs(exists && strchr(path, ' ') ? "\t\n" : "\n", out);
}

static bool same_content(const struct patch_content *a, const struct patch_content *b)
{
	return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

/* It tells both programs of symbolic links. */
static void print_index(FILE *out, unsigned int from_mode, unsigned int to_mode,
			const struct patch_content *from, const struct patch_content *to)
{
	char old[GIT_OID_HEXSZ + 1] = "", new[GIT_OID_HEXSZ + 1] = "";
	git_oid id = {0};

	if (from_mode)
		git_odb_hash(&id, from->data, from->len, GIT_OBJECT_BLOB);
	git_oid_tostr(old, sizeof(old), &id);
	id = (git_oid){0};
	if (to_mode)
		git_odb_hash(&id, to->data, to->len, GIT_OBJECT_BLOB);
	git_oid_tostr(new, sizeof(new), &id);
	fprintf(out, "index %s..%s", old, new);
	if (from_mode == to_mode)
		fprintf(out, " %o", to_mode);
	fputc('\n', out);
}

static bool is_small(const struct patch_content *content)
{
	return content->len <= PATCH_DIFF_MAX && count_lines(content) <= PATCH_DIFF_LINES;
}

/* Is what they have in common worth the time, and is there that time? */
static bool take_budget(struct patch_budget *budget, const struct patch_content *from,
			const struct patch_content *to)
{
	size_t bytes = from->len + to->len, lines;

	if (!from->len || !to->len || !is_small(from) || !is_small(to))
		return false;
	lines = count_lines(from) + count_lines(to);
	if (bytes > budget->bytes || lines > budget->lines)
		return false;
	budget->bytes -= bytes;
	budget->lines -= lines;
	return true;
}

static int print_contents(FILE *out, const char *path, unsigned int from_mode,
			  unsigned int to_mode, const struct patch_content *from,
			  const struct patch_content *to, struct patch_budget *budget)
{
	print_index(out, from_mode, to_mode, from, to);
	if (!from->len && !to->len)
		return 0;
	print_name(out, "--- ", "a/", path, from_mode);
	print_name(out, "+++ ", "b/", path, to_mode);
	if (take_budget(budget, from, to))
		return print_hunks(out, from, to);
	print_whole(out, from, to);
	return 0;
}

static void print_git(FILE *out, const char *path)
{
	fputs("diff --git ", out);
	quote_path(out, "a/", path);
	fputc(' ', out);
	quote_path(out, "b/", path);
	fputc('\n', out);
}

static void print_modes(FILE *out, unsigned int from_mode, unsigned int to_mode)
{
	if (!from_mode)
		fprintf(out, "new file mode %o\n", to_mode);
	else if (!to_mode)
		fprintf(out, "deleted file mode %o\n", from_mode);
	else if (from_mode != to_mode)
		fprintf(out, "old mode %o\nnew mode %o\n", from_mode, to_mode);
}

static int print_file(FILE *out, const char *path, unsigned int from_mode,
		      unsigned int to_mode, const struct patch_content *from,
		      const struct patch_content *to, struct patch_budget *budget)
{
	if (from_mode == to_mode && same_content(from, to))
		return 0;
	print_git(out, path);
	print_modes(out, from_mode, to_mode);
	if (from_mode && to_mode && same_content(from, to))
		return 0;
	return print_contents(out, path, from_mode, to_mode, from, to, budget);
}

static bool is_large(const struct tree_state *state)
{
	return patch_needs(state) && state->size > PATCH_FILE_MAX;
}

bool patch_is_too_large(const struct tree_pair *pair)
{
	return is_large(pair->from) || is_large(pair->to);
}

/* Both programs want ids, and git that they are those of the files. These never are, so
 * that it refuses the patch rather than leave the file as it is. */
static void print_other_index(FILE *out, const struct tree_pair *pair)
{
	const struct tree_state *const sides[] = {pair->from, pair->to};
	uint64_t facts[2][4];
	struct patch_content contents[2];

	for (int i = 0; i < 2; i++) {
		memcpy(facts[i],
		       (uint64_t[]){sides[i]->ino, sides[i]->size,
				    (uint64_t)sides[i]->mtime_ns,
				    (uint64_t)sides[i]->ctime_ns},
		       sizeof(facts[i]));
		contents[i] = (struct patch_content){facts[i], sizeof(facts[i])};
	}
	print_index(out, mode_of(pair->from), mode_of(pair->to), &contents[0],
		    &contents[1]);
}

void patch_print_too_large(FILE *out, const struct tree_pair *pair)
{
	unsigned int from_mode = mode_of(pair->from), to_mode = mode_of(pair->to);

	git_libgit2_init(); /* counts; it is never shut down */
	fprintf(out, "# too large for a patch, which takes files of %u MiB at most:\n",
		PATCH_FILE_MAX >> 20);
	print_git(out, pair->path);
	print_modes(out, from_mode, to_mode);
	print_other_index(out, pair);
	fputs("Binary files ", out);
	print_side(out, "a/", pair->path, from_mode);
	fputs(" and ", out);
	print_side(out, "b/", pair->path, to_mode);
	fputs(" differ\n", out);
}

/* A file of another type is removed and made anew. */
int patch_print(FILE *out, const struct tree_pair *pair, const struct patch_content *from,
		const struct patch_content *to, struct patch_budget *budget)
{
	static const struct patch_content nothing = {"", 0};
	unsigned int from_mode = mode_of(pair->from), to_mode = mode_of(pair->to);
	int r = 0;

	git_libgit2_init(); /* counts; it is never shut down */
	if (from_mode && to_mode && (from_mode & S_IFMT) == (to_mode & S_IFMT))
		return print_file(out, pair->path, from_mode, to_mode, from, to, budget);
	if (from_mode)
		r = print_file(out, pair->path, from_mode, 0, from, &nothing, budget);
	if (r == 0 && to_mode)
		r = print_file(out, pair->path, 0, to_mode, &nothing, to, budget);
	return r;
}
