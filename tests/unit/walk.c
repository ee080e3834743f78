/*
 * What the guest's file server says of an overlay, for tests of it in a script:
 *
 *   walk UPPER LOWER tree | image       print the entries
 *   walk UPPER LOWER runs               a line "begin" or "end" for each on stdin;
 *                                       "end" prints the changes
 *
 *   walk UPPER LOWER diff UPPER ROOT ROOT   compare it with that of another UPPER; each
 *                                       ROOT is where the overlay is mounted
 *
 * Each line that is printed is JSON; bytes of names are characters U+0000 to U+00FF.
 */
#include "guest/files/changes.h"
#include "pffs/core/diff/compare.h"
#include "util/cleanup.h"
#include "wire/agent.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static json_t *text(const char *bytes)
{
	char room[2 * 4096 + 1], *to = room;

	for (; *bytes && to < room + sizeof(room) - 2; bytes++) {
		uint8_t byte = (uint8_t)*bytes;

		if (byte >= 0x80)
			*to++ = (char)(0xc0 | byte >> 6);
		*to++ = (char)(byte < 0x80 ? byte : 0x80 | (byte & 0x3f));
	}
	return json_stringn(room, (size_t)(to - room));
}

static json_t *state(const struct tree_state *st)
{
	if (!st->mode)
		return json_null();
	return json_pack("{s:i, s:i, s:i, s:I, s:o}", "mode", (int)st->mode, "uid",
			 (int)st->uid, "gid", (int)st->gid, "size", (json_int_t)st->size,
			 "target", text(st->target ? st->target : ""));
}

static void print(json_t *line)
{
	char *dumped = json_dumps(line, JSON_COMPACT);

	puts(dumped);
	fflush(stdout);
	free(dumped);
	json_decref(line);
}

static bool get_tree(const struct layers *layers, bool image, struct tree *tree)
{
	struct buf bytes = {0};
	struct error err;

	return tree_walk(layers, image, NULL, &bytes) == 0 &&
	       tree_parse(tree, &bytes, &err) == 0;
}

static int show_tree(const struct layers *layers, bool image)
{
	struct tree tree;

	if (!get_tree(layers, image, &tree))
		return 1;
	for (size_t i = 0; i < tree.count; i++)
		print(json_pack("{s:o, s:o, s:o}", "path", text(tree.entries[i].path),
				"now", state(&tree.entries[i].now), "below",
				state(&tree.entries[i].below)));
	tree_fini(&tree);
	return 0;
}

static void show_changes(void *ctx, const void *payload, size_t len)
{
	struct cursor c = cursor_over(payload, len);
	char path[4097], kind[2] = {0};

	(void)ctx;
	while (cursor_left(&c)) {
		kind[0] = (char)cursor_get_u8(&c);
		path[0] = '\0';
		if (kind[0] != AGENT_CHANGES_END && kind[0] != AGENT_CHANGES_UNKNOWN)
			cursor_get_string(&c, path, sizeof(path));
		print(json_pack("[s, o]", kind, text(path)));
	}
}

static int show_runs(const struct layers *layers)
{
	struct changes changes;
	char line[64];

	changes_init(&changes, layers);
	while (fgets(line, sizeof(line), stdin)) {
		if (strcmp(line, "begin\n") == 0) {
			changes_begin(&changes, 1);
			print(json_pack("[s]", "begun"));
		} else {
			changes_end(&changes, 1, strcmp(line, "end quiet\n") == 0,
				    show_changes, NULL);
		}
	}
	changes_fini(&changes);
	return 0;
}

/* Do two files of one size have the same bytes? */
static bool same_files(const char *one, const char *other, const char *path)
{
	char names[2][5000], bytes[2][256];
	size_t len[2];

	snprintf(names[0], sizeof(names[0]), "%s/%s", one, path);
	snprintf(names[1], sizeof(names[1]), "%s/%s", other, path);
	for (int i = 0; i < 2; i++) {
		cleanup_fclose FILE *file = fopen(names[i], "r");

		len[i] = file ? fread(bytes[i], 1, sizeof(bytes[i]), file) : 0;
	}
	return len[0] == len[1] && memcmp(bytes[0], bytes[1], len[0]) == 0;
}

static int show_diff(const struct layers *layers, char **argv)
{
	struct layers other = {open(argv[0], O_PATH | O_DIRECTORY), layers->lower};
	struct comparison result;
	struct tree from, to;

	if (!get_tree(layers, false, &from) || !get_tree(&other, false, &to) ||
	    compare_trees(&from, &to, NULL, &result) < 0)
		return 1;
	for (size_t i = 0; i < result.count; i++) {
		struct compared *one = &result.list[i];

		if (one->is == SUSPECTED)
			one->is =
			    same_files(argv[1], argv[2], one->pair.path) ? EQUAL : MODIFIED;
		if (one->is != EQUAL)
			print(json_pack("[s, o]",
					one->is == ADDED     ? "A"
					: one->is == REMOVED ? "D"
							     : "M",
					text(one->pair.path)));
	}
	comparison_fini(&result);
	tree_fini(&from);
	tree_fini(&to);
	return 0;
}

int main(int argc, char **argv)
{
	struct layers layers = {-1, -1};

	if (argc != 4 && argc != 7)
		return 2;
	layers.upper = open(argv[1], O_PATH | O_DIRECTORY);
	layers.lower = open(argv[2], O_PATH | O_DIRECTORY);
	if (argc == 7)
		return show_diff(&layers, argv + 4);
	if (strcmp(argv[3], "runs") == 0)
		return show_runs(&layers);
	return show_tree(&layers, strcmp(argv[3], "image") == 0);
}
