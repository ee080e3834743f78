/*
 * Patches turn one tree into the other, by `patch -p1` and by `git apply`: random trees,
 * with binary files, odd names, links, modes and changes of type.
 */
#include "pffs/core/diff/patch.h"
#include "pffs/core/diff/compare.h"
#include "tests/unit/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEEDS 60
#define FILES 24

static unsigned int seed_now;

static unsigned int pick(unsigned int n)
{
	seed_now = seed_now * 1103515245u + 12345u;
	return (seed_now >> 16) % n;
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void shell(const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) != 0) /* NOLINT(cert-env33-c): a test's own commands */
		diag("failed: %s", command);
}

static void write_file(const char *path)
{
	static const char *const lines[] = {"one\n", "two\r\n", "three\n", "\xff\xfe\n",
					    "with\0nul\n"};
	static const size_t sizes[] = {4, 5, 6, 3, 9};
	FILE *file = fopen(path, "w");
	unsigned int count = pick(30);

	for (unsigned int i = 0; file && i < count; i++) {
		unsigned int which = pick(5);

		fwrite(lines[which], 1, sizes[which], file);
	}
	if (file && pick(3) == 0)
		fputs("no end of line", file);
	if (file && pick(4) == 0)
		for (int i = 0; i < 300; i++)
			fputc((int)pick(256), file);
	if (file)
		fclose(file);
	chmod(path, (mode_t[]){0644, 0755, 0600, 0640}[pick(4)]);
}

static void change(const char *top)
{
	static const char *const names[] = {"a",    "b c", "d\ne", "q\"\\", "\xc3\xa9",
					    "\xff", "t\t", "x/y",  "x/z/w", "x"};
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", top, names[pick(10)]);
	switch (pick(6)) {
	case 0:
		shell("rm -rf '%s'", path);
		return;
	case 1:
		shell("rm -rf '%s'; mkdir -p \"$(dirname '%s')\" 2>/dev/null; true", path,
		      path);
		if (symlink((const char *[]){"to", "to there\n", "../x"}[pick(3)], path) <
		    0)
			return;
		return;
	default:
		shell("d=\"$(dirname '%s')\"; [ -d \"$d\" ] && [ ! -L \"$d\" ] || "
		      "{ rm -rf \"$d\"; mkdir \"$d\" 2>/dev/null; }; "
		      "[ -f '%s' ] && [ ! -L '%s' ] || rm -rf '%s'; true",
		      path, path, path, path);
		write_file(path);
	}
}

static void add(struct buf *out, const char *top, const char *path)
{
	static uint64_t inode = 1;
	char full[800], target[200] = "";
	struct stat st;

	snprintf(full, sizeof(full), "%s/%s", top, path);
	if (lstat(full, &st) < 0)
		return;
	if (S_ISLNK(st.st_mode) && readlink(full, target, sizeof(target) - 1) < 0)
		return;
	tree_put(out, &(struct tree_entry){
			  .path = path,
			  .now = {.mode = st.st_mode,
				  .uid = st.st_uid,
				  .ino = inode++,
				  .size = (uint64_t)st.st_size,
				  .target = S_ISLNK(st.st_mode) ? target : NULL},
		      });
}

/* NOLINTNEXTLINE(misc-no-recursion): it is few levels */
static void walk(struct buf *out, const char *top, const char *at)
{
	char full[800], path[700];
	struct dirent *entry;
	DIR *dir;

	snprintf(full, sizeof(full), "%s/%s", top, at);
	dir = opendir(full);
	while (dir && (entry = readdir(dir))) {
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s%s%s", at, *at ? "/" : "", entry->d_name);
		add(out, top, path);
		snprintf(full, sizeof(full), "%s/%s", top, path);
		if (lstat(full, &st) == 0 && S_ISDIR(st.st_mode))
			walk(out, top, path);
	}
	if (dir)
		closedir(dir);
}

static struct tree tree_of(const char *top)
{
	struct buf bytes = {0};
	struct error err;
	struct tree tree;

	walk(&bytes, top, "");
	if (tree_parse(&tree, &bytes, &err) < 0)
		diag("%s", err.text);
	return tree;
}

static char *content_of(const char *top, const char *path, const struct tree_state *st,
			struct patch_content *content)
{
	char full[800], *data = NULL;
	FILE *file;

	if (S_ISLNK(st->mode)) {
		*content = (struct patch_content){st->target, strlen(st->target)};
		return NULL;
	}
	snprintf(full, sizeof(full), "%s/%s", top, path);
	file = S_ISREG(st->mode) ? fopen(full, "r") : NULL;
	if (!file)
		return NULL;
	data = malloc(st->size + 1);
	*content = (struct patch_content){data, fread(data, 1, st->size, file)};
	fclose(file);
	return data;
}

static void write_patch(const char *name, const char *from, const char *to)
{
	struct tree a = tree_of(from), b = tree_of(to);
	struct patch_budget budget = patch_budget;
	struct comparison result;
	FILE *out = fopen(name, "w");

	compare_trees(&a, &b, NULL, &result);
	for (size_t i = 0; i < result.count; i++) {
		struct compared *one = &result.list[i];
		struct patch_content old = {"", 0}, new = {"", 0};
		char *mine = content_of(from, one->pair.path, one->pair.from, &old);
		char *theirs = content_of(to, one->pair.path, one->pair.to, &new);
		FILE *piece = open_memstream(&one->piece, &one->piece_len);

		patch_print(piece, &one->pair, &old, &new, &budget);
		fclose(piece);
		free(mine);
		free(theirs);
	}
	comparison_patch(&result, out);
	fclose(out);
	comparison_fini(&result);
	tree_fini(&a);
	tree_fini(&b);
}

/* Neither keeps empty directories, nor does a patch have their modes. */
static bool same_trees(const char *a, const char *b)
{
	char command[1024];

	snprintf(command, sizeof(command),
		 "find %s %s -depth -type d -empty -delete; mkdir -p %s %s; "
		 "diff -r --no-dereference %s %s >/dev/null && "
		 "[ \"$(cd %s; find . ! -type d -printf '%%p %%m\\n' | sort)\" = "
		 "\"$(cd %s; find . ! -type d -printf '%%p %%m\\n' | sort)\" ]",
		 a, b, a, b, a, b, a, b);
	return system(command) == 0; /* NOLINT(cert-env33-c) */
}

/* patch(1) removes files when it has made all others, so that it cannot do this. */
static bool changes_directories(const char *a, const char *b)
{
	struct tree from = tree_of(a), to = tree_of(b);
	bool changes = false;

	for (size_t i = 0; i < from.count; i++) {
		const struct tree_entry *other = tree_find(&to, from.entries[i].path);

		changes |=
		    other && S_ISDIR(other->now.mode) != S_ISDIR(from.entries[i].now.mode);
	}
	tree_fini(&from);
	tree_fini(&to);
	return changes;
}

/* The patch of a file of @lines lines of which the last is another. */
static size_t patch_of_lines(size_t lines, struct patch_budget *budget)
{
	static char from[1u << 20], to[1u << 20];
	const struct tree_state state = {.mode = S_IFREG | 0644, .size = 1};
	const struct tree_pair pair = {.path = "f", .from = &state, .to = &state};
	struct patch_content a = {from, 2 * lines}, b = {to, 2 * lines};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	for (size_t i = 0; i < lines; i++)
		memcpy(from + 2 * i, "a\n", 2);
	memcpy(to, from, 2 * lines);
	to[2 * lines - 2] = 'b';
	patch_print(out, &pair, &a, &b, budget);
	fclose(out);
	free(text);
	return len;
}

/* What a program says to a patch that a large file is in. */
static int program_says(const char *text, const char *program)
{
	FILE *out;

	shell("echo 1 >f; echo 1 >g");
	out = fopen("p", "w");
	fprintf(out, "%sdiff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-1\n+2\n", text);
	fclose(out);
	return system(program); /* NOLINT(cert-env33-c) */
}

static void test_limits(void)
{
	const struct tree_state small = {.mode = S_IFREG | 0644, .size = 1},
				large = {.mode = S_IFREG | 0644,
					 .size = PATCH_FILE_MAX + 1};
	const struct tree_pair pair = {.path = "f", .from = &small, .to = &large};
	struct patch_budget budget = patch_budget, poor = {patch_budget.bytes, 100};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	ok(patch_of_lines(PATCH_DIFF_LINES, &budget) < 500, "what is the same is left out");
	is_int((int)(patch_budget.lines - budget.lines), (int)(2 * PATCH_DIFF_LINES),
	       "which is taken from the budget");
	ok(patch_of_lines(PATCH_DIFF_LINES + 1, &budget) > (size_t)6 * PATCH_DIFF_LINES,
	   "a file of many lines is replaced");
	ok(patch_of_lines(50, &poor) < 200, "one of few lines is compared");
	ok(patch_of_lines(50, &poor) > 300, "and is not when the budget is spent");
	ok(patch_is_too_large(&pair), "a file may be too large");
	patch_print_too_large(out, &pair);
	fclose(out);
	ok(strstr(text, "\nBinary files a/f and b/f differ\n"), "and is named as such");
	ok(program_says(text, "git apply p 2>log") != 0, "which git refuses");
	is_int(program_says(text, "git apply --exclude=f p && grep -q 2 g"), 0,
	       "unless it is left out");
	is_int(program_says(text, "patch -s -p1 <p >log && grep -q 2 g && grep -q 1 f"), 0,
	       "and patch(1) leaves it alone");
	free(text);
}

int main(void)
{
	char work[] = "/tmp/patch.XXXXXX";
	int by_patch = 0, by_git = 0, odd = 0;

	if (!mkdtemp(work) || chdir(work) < 0)
		return 1;
	test_limits();
	umask(022);
	for (unsigned int seed = 0; seed < SEEDS; seed++) {
		seed_now = seed;
		shell("rm -rf a b c d; mkdir a");
		for (int i = 0; i < FILES; i++)
			change("a");
		shell("cp -a a b");
		for (int i = 0; i < 8; i++)
			change("b");
		write_patch("p", "a", "b");
		shell("cp -a a c; cp -a a d");
		shell("cd c && patch -s -f -p1 <../p >../c.log 2>&1; true");
		shell("cd d && git apply -p1 --whitespace=nowarn ../p >../d.log 2>&1; "
		      "chmod -R go=u,go-w . ; true");
		if (changes_directories("a", "b")) {
			odd++;
			by_patch++;
		} else if (same_trees("c", "b"))
			by_patch++;
		else
			diag("patch: seed %u", seed),
			    shell("cat c.log >&2; cp -r . /tmp/pt/seed-%u", seed);
		shell("chmod -R go=u,go-w b; true");
		if (same_trees("d", "b"))
			by_git++;
		else
			diag("git: seed %u", seed);
	}
	ok(odd < SEEDS / 2, "in %d a directory takes a file's place or the reverse", odd);
	is_int(by_patch, SEEDS, "patch -p1 makes the other tree of all the rest");
	is_int(by_git, SEEDS, "git apply of each");
	shell("rm -rf %s", work);
	return done_testing();
}
