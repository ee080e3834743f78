/*
 * pffs ls and tree: which sandboxes there are.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/table.h"
#include "util/cleanup.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>

#define DEPTH_MAX 128 /* of what is shown as a tree */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

static void add_age(struct table *table, const json_t *sandbox)
{
	char age[32];

	table_add(table, "%s", table_age(text_of(sandbox, "created"), age));
}

/* The sandboxes in order of path. */
static json_t *in_order(const json_t *sandboxes)
{
	json_t *sandbox, *sorted = json_array();
	size_t i, at;

	json_array_foreach(sandboxes, i, sandbox)
	{
		for (at = json_array_size(sorted); at; at--)
			if (strcmp(text_of(json_array_get(sorted, at - 1), "path"),
				   text_of(sandbox, "path")) < 0)
				break;
		json_array_insert(sorted, at, sandbox);
	}
	return sorted;
}

static const char help_ls[] =
    "usage: pffs ls [--json]\n"
    "\n"
    "The sandboxes, forks among them: state, age, template, how many forks each has, and\n"
    "the number of its newest run.\n"
    "\n"
    "  -q, --quiet   the paths alone\n"
    "  --json        what GET /v1/sandboxes answers\n"
    "  --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

static int take_quiet(void *ctx, int option, const char *value)
{
	bool *quiet = ctx;

	(void)option;
	(void)value;
	*quiet = true;
	return 0;
}

static void print_list(const json_t *sandboxes)
{
	struct table table = {
	    .titles = {"SANDBOX", "STATE", "AGE", "TEMPLATE", "FORKS", "RUN"},
	    .right = {[2] = true, [4] = true, [5] = true}};
	const json_t *sandbox;
	size_t i;

	json_array_foreach(sandboxes, i, sandbox)
	{
		table_add(&table, "%s", text_of(sandbox, "path"));
		table_add(&table, "%s", text_of(sandbox, "state"));
		add_age(&table, sandbox);
		table_add(&table, "%s", text_of(sandbox, "template"));
		table_add(&table, "%lld",
			  json_integer_value(json_object_get(sandbox, "forks")));
		table_add(&table, "%lld",
			  json_integer_value(json_object_get(sandbox, "run")));
	}
	table_print(&table, stdout);
	table_fini(&table);
}

static void print_paths(const json_t *sandboxes)
{
	const json_t *sandbox;
	size_t i;

	json_array_foreach(sandboxes, i, sandbox)
	{
		puts(text_of(sandbox, "path"));
	}
}

int cmd_ls(int argc, char **argv)
{
	static const struct option options[] = {{"quiet", no_argument, NULL, 'q'}, {0}};
	bool quiet = false;
	struct command c = {
	    .help = help_ls, .options = options, .take = take_quiet, .ctx = &quiet};
	json_t *answer = NULL, *sandboxes = NULL;

	if (!command_begin(&c, argc, argv))
		return c.status;
	if (command_ask(&c, "GET", NULL, &answer, "/v1/sandboxes") == 0) {
		sandboxes = in_order(json_object_get(answer, "sandboxes"));
		if (c.json)
			command_print_json(&c, answer);
		else if (quiet)
			print_paths(sandboxes);
		else
			print_list(sandboxes);
		command_flush(&c);
	}
	json_decref(sandboxes);
	json_decref(answer);
	command_end(&c);
	return c.status;
}

static const char help_tree[] =
    "usage: pffs tree [SANDBOX] [--json]\n"
    "\n"
    "The sandboxes and their forks, as a tree: state, age, and memory that is each one's "
    "own.\n"
    "\n"
    "  --json        the same, nested: what GET /v1/sandboxes has of each, with `memory`\n"
    "                and `children`\n"
    "  --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

struct tree {
	struct command *command;
	json_t *sandboxes; /* in order of path */
	struct table table;
	bool utf8;
	char indent[DEPTH_MAX * 8]; /* of the level that is shown */
};

/* How long the path of the sandbox is that @path is a fork of; 0: of none. */
static size_t parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	return len > 6 && strncmp(slash - 6, "/forks", 6) == 0 ? len - 6 : 0;
}

static bool is_child(const json_t *sandbox, const char *parent)
{
	const char *path = text_of(sandbox, "path");
	size_t len = parent_len(path);

	return strlen(parent) == len && strncmp(path, parent, len) == 0;
}

/* That what it uses is not known is no failure: it may be frozen, or gone by now. */
static json_t *memory_of(const struct tree *tree, const json_t *sandbox)
{
	json_t *stats = NULL, *memory;

	if (client_call(tree->command->client, "GET", NULL, &stats, NULL,
			"/v1/sandboxes/%s/stats", text_of(sandbox, "id")) < 0) {
		json_decref(stats);
		return json_null();
	}
	memory = json_incref(json_object_get(stats, "memory_private"));
	json_decref(stats);
	return memory ? memory : json_null();
}

/* NOLINTBEGIN(misc-no-recursion): as deep as forks are, DEPTH_MAX at most */

/* What is below @parent, "" for all, nested. */
static json_t *nested(const struct tree *tree, const char *parent, int depth)
{
	json_t *found = json_array(), *sandbox;
	size_t i;

	json_array_foreach(tree->sandboxes, i, sandbox)
	{
		if (depth == DEPTH_MAX || !is_child(sandbox, parent))
			continue;
		json_object_set_new(sandbox, "memory", memory_of(tree, sandbox));
		json_object_set_new(sandbox, "children",
				    nested(tree, text_of(sandbox, "path"), depth + 1));
		json_array_append(found, sandbox);
	}
	return found;
}

static void add_row(struct tree *tree, const json_t *sandbox, const char *branch)
{
	const json_t *memory = json_object_get(sandbox, "memory");
	char size[32];

	table_add(&tree->table, "%s%s%s", tree->indent, branch,
		  text_of(sandbox, *branch ? "name" : "path"));
	table_add(&tree->table, "%s", text_of(sandbox, "state"));
	add_age(&tree->table, sandbox);
	table_add(&tree->table, "%s",
		  json_is_integer(memory)
		      ? table_size((double)json_integer_value(memory), size)
		      : "-");
}

static void add_level(struct tree *tree, const json_t *level, bool root)
{
	const char *branch = tree->utf8 ? "├─ " : "|- ";
	const char *last = tree->utf8 ? "└─ " : "`- ";
	size_t i, count = json_array_size(level), len = strlen(tree->indent);
	const json_t *sandbox;

	json_array_foreach(level, i, sandbox)
	{
		bool ends = i + 1 == count;

		add_row(tree, sandbox, root ? "" : ends ? last : branch);
		if (!root)
			snprintf(tree->indent + len, sizeof(tree->indent) - len, "%s",
				 ends	      ? "   "
				 : tree->utf8 ? "│  "
					      : "|  ");
		add_level(tree, json_object_get(sandbox, "children"), false);
		tree->indent[len] = '\0';
	}
}

/* NOLINTEND(misc-no-recursion) */

/* That one alone, with what is below it. */
static json_t *only(struct tree *tree, const char *name)
{
	struct command *c = tree->command;
	cleanup_free char *reference = client_reference(name);
	json_t *sandbox = NULL, *level = NULL;

	if (command_ask(c, "GET", NULL, &sandbox, "/v1/sandboxes/%s", reference) == 0) {
		json_object_set_new(sandbox, "memory", memory_of(tree, sandbox));
		json_object_set_new(sandbox, "children",
				    nested(tree, text_of(sandbox, "path"), 1));
		level = json_pack("[O]", sandbox);
	}
	json_decref(sandbox);
	return level;
}

static void print_tree(struct tree *tree, const json_t *level)
{
	tree->table = (struct table){.titles = {"SANDBOX", "STATE", "AGE", "MEMORY"},
				     .right = {[2] = true, [3] = true}};
	add_level(tree, level, true);
	table_print(&tree->table, stdout);
	table_fini(&tree->table);
	command_flush(tree->command);
}

int cmd_tree(int argc, char **argv)
{
	struct command c = {.help = help_tree, .most = 1};
	struct tree tree = {.command = &c};
	json_t *answer = NULL, *level = NULL;

	if (!command_begin(&c, argc, argv))
		return c.status;
	setlocale(LC_CTYPE, "");
	tree.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	if (command_ask(&c, "GET", NULL, &answer, "/v1/sandboxes") == 0) {
		tree.sandboxes = in_order(json_object_get(answer, "sandboxes"));
		level = c.count ? only(&tree, c.operands[0]) : nested(&tree, "", 0);
	}
	if (level && c.json)
		command_print_json(&c, level);
	else if (level)
		print_tree(&tree, level);
	json_decref(level);
	json_decref(tree.sandboxes);
	json_decref(answer);
	command_end(&c);
	return c.status;
}
