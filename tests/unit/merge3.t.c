/*
 * Three-way merges of files: one row for each case, and texts against `git merge-file`
 * with random edits.
 */
#include "pffs/core/merge/merge3.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REG	 (S_IFREG | 0644)
#define DIR	 (S_IFDIR | 0755)
#define LNK	 (S_IFLNK | 0777)
#define SEEDS	 200
#define LINES	 30
#define TEXT_MAX 4096

/* What a side has: a content that is also its identity, or of a link the target. */
struct side {
	uint32_t mode;
	const char *content;
};

static void put(struct buf *out, const char *path, const struct side *side)
{
	struct tree_entry entry = {.path = path, .now = {.mode = side->mode, .nlink = 1}};

	if (!side->mode)
		return;
	if (S_ISREG(side->mode)) {
		entry.now.size = strlen(side->content);
		for (const char *c = side->content; *c; c++)
			entry.now.ino = entry.now.ino * 31 + (unsigned char)*c;
	}
	if (S_ISLNK(side->mode))
		entry.now.target = side->content;
	tree_put(out, &entry);
}

/* Decide all items; contents are the same for each that wants them. */
static void settle(struct merge3 *merge, const struct side sides[MERGE3_SIDES])
{
	for (size_t i = 0; i < merge->count; i++) {
		struct merge3_item *item = &merge->items[i];

		if (item->verdict != MERGE3_WANTS)
			continue;
		for (int side = 0; side < MERGE3_SIDES; side++) {
			if (!(item->wanted & 1u << side))
				continue;
			buf_append(&item->content[side], sides[side].content,
				   strlen(sides[side].content));
			item->have |= 1u << side;
		}
		merge3_decide(merge, item);
	}
	if (merge3_check(merge) < 0)
		exit(1);
}

struct trees {
	struct tree tree[MERGE3_SIDES];
};

/* All trees have a file that is newer than the others, so that these are not of the
 * moment of the fork. */
static void parse(struct tree *tree, struct buf *bytes)
{
	const struct tree_entry newest = {
	    .path = "~", .now = {.mode = REG, .ino = 1, .ctime_ns = 1000000000}};
	struct error err;

	tree_put(bytes, &newest);
	if (tree_parse(tree, bytes, &err) < 0) {
		ok(false, "%s", err.text);
		exit(1);
	}
}

static void trees_fini(struct trees *trees)
{
	for (int side = 0; side < MERGE3_SIDES; side++)
		tree_fini(&trees->tree[side]);
}

static void begin(struct merge3 *merge, const struct trees *trees,
		  enum merge3_favour favour)
{
	merge3_begin(merge, &trees->tree[MERGE3_BASE], &trees->tree[MERGE3_OURS],
		     &trees->tree[MERGE3_THEIRS], favour);
}

static const char *verdict_of(const struct merge3 *merge, size_t i)
{
	static const char *const names[] = {"wants", "keep",   "take",
					    "attr",  "merged", "conflict"};

	return i < merge->count ? names[merge->items[i].verdict] : "none";
}

static const char *const names[] = {"base", "ours", "theirs"};

#define NONE                                                                               \
	{                                                                                  \
		0, ""                                                                      \
	}

static const struct {
	const char *name;
	struct side sides[MERGE3_SIDES];     /* base, ours, theirs */
	const char *verdict, *ours, *theirs; /* without a favour, and with each */
} cases[] = {
    {"nobody changed it", {{REG, "a"}, {REG, "a"}, {REG, "a"}}, "none", "none", "none"},
    {"we changed it", {{REG, "a"}, {REG, "b"}, {REG, "a"}}, "none", "none", "none"},
    {"they changed it", {{REG, "a"}, {REG, "a"}, {REG, "b"}}, "take", "take", "take"},
    {"both alike", {{REG, "a"}, {REG, "b"}, {REG, "b"}}, "keep", "keep", "keep"},
    {"they made it", {NONE, NONE, {REG, "b"}}, "take", "take", "take"},
    {"both made it alike", {NONE, {REG, "b"}, {REG, "b"}}, "keep", "keep", "keep"},
    {"both made it", {NONE, {REG, "a\n"}, {REG, "b\n"}}, "conflict", "keep", "merged"},
    {"they removed it", {{REG, "a"}, {REG, "a"}, NONE}, "take", "take", "take"},
    {"both removed it", {{REG, "a"}, NONE, NONE}, "keep", "keep", "keep"},
    {"we removed it", {{REG, "a"}, NONE, {REG, "b"}}, "conflict", "keep", "take"},
    {"they removed what we changed",
     {{REG, "a"}, {REG, "b"}, NONE},
     "conflict",
     "keep",
     "take"},
    {"they changed its mode",
     {{REG, "a"}, {REG, "a"}, {S_IFREG | 0600, "a"}},
     "attr",
     "attr",
     "attr"},
    {"they its mode, we the text",
     {{REG, "a"}, {REG, "b"}, {S_IFREG | 0600, "a"}},
     "attr",
     "attr",
     "attr"},
    {"both its mode",
     {{REG, "a"}, {S_IFREG | 0640, "a"}, {S_IFREG | 0600, "a"}},
     "conflict",
     "keep",
     "attr"},
    {"different lines",
     {{REG, "1\n2\n3\n4\n5\n"}, {REG, "one\n2\n3\n4\n5\n"}, {REG, "1\n2\n3\n4\nfive\n"}},
     "merged",
     "merged",
     "merged"},
    {"the same lines",
     {{REG, "1\n"}, {REG, "2\n"}, {REG, "3\n"}},
     "conflict",
     "keep",
     "merged"},
    {"a link", {{LNK, "a"}, {LNK, "a"}, {LNK, "b"}}, "take", "take", "take"},
    {"a link, both", {{LNK, "a"}, {LNK, "c"}, {LNK, "b"}}, "conflict", "keep", "take"},
    {"a file that is a link", {{REG, "a"}, {REG, "a"}, {LNK, "b"}}, "take", "take", "take"},
    {"a file that is a link and changed",
     {{REG, "a"}, {REG, "c"}, {LNK, "b"}},
     "conflict",
     "keep",
     "take"},
    {"a directory", {NONE, NONE, {DIR, ""}}, "take", "take", "take"},
    {"a directory, both", {NONE, {DIR, ""}, {DIR, ""}}, "keep", "keep", "keep"},
    {"a directory and a file", {NONE, {REG, "a"}, {DIR, ""}}, "conflict", "keep", "take"},
};

static void each_case(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *const want[] = {cases[i].verdict, cases[i].ours,
					    cases[i].theirs};

		for (int favour = 0; favour < 3; favour++) {
			struct trees trees = {0};
			struct merge3 merge;

			for (int side = 0; side < MERGE3_SIDES; side++) {
				struct buf bytes = {0};

				put(&bytes, "path", &cases[i].sides[side]);
				parse(&trees.tree[side], &bytes);
			}
			begin(&merge, &trees, (enum merge3_favour)favour);
			settle(&merge, cases[i].sides);
			is_str(verdict_of(&merge, 0), want[favour], "%s, favour %d",
			       cases[i].name, favour);
			merge3_fini(&merge);
			trees_fini(&trees);
		}
	}
}

static void add(struct trees *trees, const char *const lists[MERGE3_SIDES])
{
	for (int side = 0; side < MERGE3_SIDES; side++) {
		char text[256], *rest = text, *word;
		struct buf bytes = {0};

		strcpy(text, lists[side]);
		while ((word = strsep(&rest, " "))) {
			bool dir = *word && word[strlen(word) - 1] == '/';

			if (dir)
				word[strlen(word) - 1] = '\0';
			if (*word)
				put(&bytes, word, &(struct side){dir ? DIR : REG, "x"});
		}
		parse(&trees->tree[side], &bytes);
	}
}

/* @want: verdicts of the items in order. */
static void favoured(enum merge3_favour favour, const char *name, const char *base,
		     const char *ours, const char *theirs, const char *want)
{
	const char *const lists[] = {base, ours, theirs};
	struct trees trees = {0};
	struct merge3 merge;
	char got[256] = "";

	add(&trees, lists);
	begin(&merge, &trees, favour);
	is_int(merge3_check(&merge), 0, "%s", name);
	for (size_t i = 0; i < merge.count; i++) {
		strcat(got, i ? " " : "");
		strcat(got, verdict_of(&merge, i));
	}
	is_str(got, want, "%s", name);
	merge3_fini(&merge);
	trees_fini(&trees);
}

static void directories(const char *name, const char *base, const char *ours,
			const char *theirs, const char *want)
{
	favoured(MERGE3_FAVOUR_NONE, name, base, ours, theirs, want);
}

static void what_is_in_what(void)
{
	directories("a directory goes with what is in it", "d/ d/a", "d/ d/a", "",
		    "take take");
	directories("but stays for what we put there", "d/ d/a", "d/ d/a d/b", "",
		    "keep take");
	directories("what comes needs its directory", "d/", "", "d/ d/a", "take take");
	directories("and those that this is in", "d/ d/e/", "", "d/ d/e/ d/e/a d/e/b/",
		    "take take take take");
	directories("once for all that comes", "d/ d.x d/e/", "d.x",
		    "d/ d.x d/a d/b d/e/ d/e/c", "take take take take take");
	directories("and no other one", "c/ d/ e/", "", "c/ d/ d/a e/", "take take");
	directories("and not a file", "d/", "d", "d/ d/a", "conflict");
	directories("a file in place of a directory", "d/ d/a", "d/ d/a", "d", "take take");
	directories("not when something new is in it", "d/ d/a", "d/ d/a d/b", "d",
		    "conflict take");
	favoured(MERGE3_FAVOUR_OURS, "--ours leaves the directory", "d/ d/a", "d/ d/a d/b",
		 "d", "keep take");
	favoured(MERGE3_FAVOUR_OURS, "or the file", "d/", "d", "d/ d/a", "keep");
	favoured(MERGE3_FAVOUR_THEIRS, "--theirs takes the directory", "d/", "d", "d/ d/a",
		 "take take");
}

/* What the time for it would grow with, faster than linearly. */
static void large_texts(void)
{
	static const struct {
		size_t lines, len;
		const char *want, *name;
	} rows[] = {{1000, 10, "merged", "a text is merged by lines"},
		    {30000, 10, "conflict", "not one of too many lines"},
		    {1, 5u << 20, "conflict", "or bytes"}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t size = rows[i].lines * rows[i].len;
		struct side sides[MERGE3_SIDES];
		struct trees trees = {0};
		struct merge3 merge;

		for (int side = 0; side < MERGE3_SIDES; side++) {
			char *text = malloc(size + 1);
			struct buf bytes = {0};

			memset(text, 'x', size);
			for (size_t at = rows[i].len; at <= size; at += rows[i].len)
				text[at - 1] = '\n';
			text[size] = '\0';
			if (side != MERGE3_BASE)
				text[side == MERGE3_OURS ? 0 : size - 2] = 'y';
			sides[side] = (struct side){REG, text};
			put(&bytes, "path", &sides[side]);
			parse(&trees.tree[side], &bytes);
		}
		begin(&merge, &trees, MERGE3_FAVOUR_NONE);
		settle(&merge, sides);
		is_str(verdict_of(&merge, 0), rows[i].want, "%s", rows[i].name);
		merge3_fini(&merge);
		trees_fini(&trees);
		for (int side = 0; side < MERGE3_SIDES; side++)
			free((char *)(uintptr_t)sides[side].content);
	}
}

static unsigned next_random(unsigned *state)
{
	return *state = *state * 1103515245u + 12345u, *state >> 16 & 0x7fff;
}

/* Lines that are changed, removed or added here and there. */
static void edit(unsigned *state, char *text, const char *from, unsigned rarity)
{
	char copy[TEXT_MAX], *rest = copy, *line;

	strcpy(copy, from);
	*text = '\0';
	while ((line = strsep(&rest, "\n")) && rest) {
		unsigned what = next_random(state) % rarity;

		if (what == 0)
			continue;
		sprintf(text + strlen(text), what == 1 ? "%s changed %u\n" : "%s\n", line,
			next_random(state) % 3);
		if (what == 2)
			sprintf(text + strlen(text), "new %u\n", next_random(state) % 3);
	}
}

static void store(const char *dir, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	fputs(text, file);
	fclose(file);
}

/* Return: the exit status of git, 127 when there is none. */
static int run_git(char *const argv[])
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 127;
}

/* What git makes of it. Return: whether it found no conflict. */
static bool ask_git(const char *dir, char *merged)
{
	char paths[MERGE3_SIDES][64];
	char *argv[] = {(char[]){"git"},
			(char[]){"merge-file"},
			(char[]){"-q"},
			paths[1],
			paths[0],
			paths[2],
			NULL};
	size_t len = 0;
	FILE *out;
	int status;

	for (int side = 0; side < MERGE3_SIDES; side++)
		snprintf(paths[side], sizeof(paths[side]), "%s/%s", dir, names[side]);
	status = run_git(argv);
	out = fopen(paths[1], "r");
	if (out) {
		len = fread(merged, 1, 3 * TEXT_MAX - 1, out);
		fclose(out);
	}
	merged[len] = '\0';
	return status == 0;
}

static bool agrees_with_git(unsigned seed, const char *dir)
{
	static char texts[MERGE3_SIDES][TEXT_MAX], merged[3 * TEXT_MAX];
	struct side sides[MERGE3_SIDES];
	struct trees trees = {0};
	struct merge3 merge;
	bool well, same;

	texts[0][0] = '\0';
	for (unsigned i = 0; i < LINES; i++)
		sprintf(texts[0] + strlen(texts[0]), "line %u\n", next_random(&seed) % 9);
	edit(&seed, texts[1], texts[0], 8 + seed % 60);
	edit(&seed, texts[2], texts[0], 8 + seed % 60);
	for (int side = 0; side < MERGE3_SIDES; side++) {
		struct buf bytes = {0};

		store(dir, names[side], texts[side]);
		sides[side] = (struct side){REG, texts[side]};
		put(&bytes, "path", &sides[side]);
		parse(&trees.tree[side], &bytes);
	}
	well = ask_git(dir, merged);
	begin(&merge, &trees, MERGE3_FAVOUR_NONE);
	settle(&merge, sides);
	if (!merge.count || merge.items[0].verdict == MERGE3_KEEP)
		same = well && strcmp(merged, texts[1]) == 0;
	else if (merge.items[0].verdict == MERGE3_TAKE)
		same = well && strcmp(merged, texts[2]) == 0;
	else if (merge.items[0].verdict == MERGE3_CONFLICT)
		same = !well;
	else
		same =
		    well && merge.items[0].merged.len == strlen(merged) &&
		    memcmp(buf_peek(&merge.items[0].merged), merged, strlen(merged)) == 0;
	merge3_fini(&merge);
	trees_fini(&trees);
	return same;
}

static void texts_are_merged_as_git_does(void)
{
	char *silent[] = {(char[]){"git"}, (char[]){"check-ref-format"}, (char[]){"refs/x"},
			  NULL};
	char dir[] = "/tmp/pffs-merge3-XXXXXX", path[64];
	unsigned bad = 0;

	if (run_git(silent) == 127) {
		skip(1, "no git");
		return;
	}
	if (!mkdtemp(dir))
		exit(1);
	for (unsigned seed = 1; seed <= SEEDS; seed++) {
		if (agrees_with_git(seed, dir))
			continue;
		diag("seed %u", seed);
		bad++;
	}
	is_int(bad, 0, "%d random texts are merged as `git merge-file` does", SEEDS);
	for (int side = 0; side < MERGE3_SIDES; side++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[side]);
		unlink(path);
	}
	rmdir(dir);
}

int main(void)
{
	each_case();
	what_is_in_what();
	large_texts();
	texts_are_merged_as_git_does();
	return done_testing();
}
