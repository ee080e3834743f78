/*
 * What the guest's file server says of an overlay, for tests of it in a script:
 *
 *   walk UPPER LOWER tree | image       print the entries
 *   walk UPPER LOWER runs               a line "begin" or "end" for each on stdin;
 *                                       "end" prints the changes
 *
 * Each line that is printed is JSON; bytes of names are characters U+0000 to U+00FF.
 */
#include "guest/files/changes.h"
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

static int show_tree(const struct layers *layers, bool image)
{
	struct buf bytes = {0};
	struct tree tree;
	struct error err;

	if (tree_walk(layers, image, &bytes) < 0 || tree_parse(&tree, &bytes, &err) < 0)
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

int main(int argc, char **argv)
{
	struct layers layers = {-1, -1};

	if (argc != 4)
		return 2;
	layers.upper = open(argv[1], O_PATH | O_DIRECTORY);
	layers.lower = open(argv[2], O_PATH | O_DIRECTORY);
	if (strcmp(argv[3], "runs") == 0)
		return show_runs(&layers);
	return show_tree(&layers, strcmp(argv[3], "image") == 0);
}
