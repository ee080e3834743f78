/*
 * pffs template: what sandboxes are made from.
 *
 * Images are made and removed by the script that makes all images, which this
 * program becomes; what they are is read from the files beside them.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/paths.h"
#include "pffs/cli/table.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define SUFFIX	 ".erofs"
#define INFO_MAX 65536

static const char help[] =
    "usage: pffs template list [--images DIR] [--json]\n"
    "       pffs template add [--images DIR] NAME RECIPE\n"
    "       pffs template rm [--images DIR] NAME\n"
    "       pffs template freeze SANDBOX NAME\n"
    "\n"
    "list    what sandboxes can be made from: images, and what `freeze` has made\n"
    "add     make one of RECIPE, a folder with\n"
    "          packages    names of Debian packages, one a line; may be empty\n"
    "          base        if there: the recipe that this one adds to, like `default`\n"
    "          files/      if there: is copied over the root directory\n"
    "          customise   if there: is run last, with the new root as its argument\n"
    "rm      remove one; sandboxes that were made from it live on\n"
    "freeze  make a template of a sandbox in which no run goes on, as it is, until the\n"
    "        machines end, as by `pffs umount`; the sandbox itself goes on\n"
    "\n"
    "  --images DIR    where the images are (PFFS_IMAGES, else /var/cache/pffs)\n"
    "  --api PATH      socket of the pffs that runs (PFFS_API; else the only one)\n"
    "  --json          what list and freeze tell, as JSON\n";

static int explain(const struct error *err)
{
	fprintf(stderr, "pffs: %s\n", err->text);
	return 1;
}

/* Become the script that makes images; @operands end with NULL. */
static int become_build(const char *images, const char *mode, const char *const *operands)
{
	struct error err;
	cleanup_free char *build = paths_build(&err);
	const char *argv[8] = {build, "--images", images, mode};

	if (!build)
		return explain(&err);
	for (size_t i = 0; operands[i]; i++)
		argv[4 + i] = operands[i];
	execv(build, (char *const *)(uintptr_t)argv);
	error_set(&err, errno, "cannot run %s", build);
	return explain(&err);
}

/* The value of a KEY VALUE line in @info, to free(), or NULL. */
static char *value_of(const char *info, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = info; line && *line; line++) {
		if (strncmp(line, key, len) == 0 && line[len] == ' ')
			return strndup(line + len + 1, strcspn(line + len + 1, "\n"));
		line = strchr(line, '\n');
		if (!line)
			break;
	}
	return NULL;
}

/* {name, packages, size, built}, where they are known. */
static json_t *describe(const char *folder, const char *name, int len)
{
	cleanup_free char *path = NULL, *info = NULL, *packages = NULL, *size = NULL;
	cleanup_free char *built = NULL;
	size_t info_len;
	json_t *found;

	if (asprintf(&path, "%s/%.*s.info", folder, len, name) < 0)
		path = NULL;
	else
		info = io_read_file(path, INFO_MAX, &info_len, NULL);
	found = json_pack("{s:s%}", "name", name, (size_t)len);
	packages = value_of(info, "packages");
	size = value_of(info, "size");
	built = value_of(info, "built");
	if (packages)
		json_object_set_new(found, "packages",
				    json_integer(strtoll(packages, NULL, 10)));
	if (size)
		json_object_set_new(found, "size", json_integer(strtoll(size, NULL, 10)));
	if (built)
		json_object_set_new(found, "built", json_string(built));
	return found;
}

static void add_number(struct table *table, const json_t *template, const char *key,
		       unsigned shift)
{
	const json_t *value = json_object_get(template, key);

	if (value)
		table_add(table, "%lld", json_integer_value(value) >> shift);
	else
		table_add(table, "-");
}

static void print_templates(const json_t *templates)
{
	struct table table = {.titles = {"NAME", "PACKAGES", "MIB", "BUILT"},
			      .right = {[1] = true, [2] = true}};
	const json_t *template;
	const char *built;
	size_t i;

	json_array_foreach(templates, i, template)
	{
		built = json_string_value(json_object_get(template, "built"));
		table_add(&table, "%s",
			  json_string_value(json_object_get(template, "name")));
		add_number(&table, template, "packages", 0);
		add_number(&table, template, "size", 20);
		table_add(&table, "%s", built ? built : "-");
	}
	table_print(&table, stdout);
	table_fini(&table);
}

/* Return: an array, or NULL with @err. */
static json_t *find_all(const char *images, struct error *err)
{
	cleanup_free struct dirent **files = NULL;
	cleanup_free char *folder = NULL;
	json_t *found;
	int count;

	if (asprintf(&folder, "%s/templates", images) < 0) {
		folder = NULL;
		error_set(err, ENOMEM, "cannot look for templates");
		return NULL;
	}
	count = scandir(folder, &files, NULL, alphasort);
	if (count < 0 && errno != ENOENT) {
		error_set(err, errno, "cannot read %s", folder);
		return NULL;
	}
	found = json_array();
	for (int i = 0; i < count; i++) {
		const char *dot = strrchr(files[i]->d_name, '.');

		if (files[i]->d_name[0] != '.' && dot && strcmp(dot, SUFFIX) == 0)
			json_array_append_new(found,
					      describe(folder, files[i]->d_name,
						       (int)(dot - files[i]->d_name)));
		free(files[i]);
	}
	return found;
}

/* Those that the pffs which runs has made of sandboxes. When none runs there are none. */
static void add_made(struct command *c, json_t *found)
{
	json_t *answer = NULL, *template;
	struct error err;
	size_t i;

	c->client = client_open(c->api, NULL, &err);
	if (!c->client ||
	    client_call(c->client, "GET", NULL, &answer, &err, "/v1/templates") < 0) {
		if (c->api)
			command_fail(c, &err);
		json_decref(answer);
		return;
	}
	json_array_foreach(json_object_get(answer, "templates"), i, template)
	{
		if (!json_is_true(json_object_get(template, "made")))
			continue;
		json_array_append_new(
		    found,
		    json_pack("{s:O, s:O, s:b}", "name", json_object_get(template, "name"),
			      "built", json_object_get(template, "created"), "made", 1));
	}
	json_decref(answer);
}

static int list(struct command *c, const char *images)
{
	struct error err;
	json_t *found = find_all(images, &err), *all;

	if (!found)
		return explain(&err);
	add_made(c, found);
	all = json_pack("{s:o}", "templates", found);
	if (c->json)
		command_print_json(c, all);
	else
		print_templates(found);
	json_decref(all);
	command_end(c);
	return c->status;
}

/* From now on no signal but SIGKILL leaves the fork behind. */
static void hold_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

/* A fork of the sandbox becomes the template, since what does goes. Return: its id to
 * free(), or NULL when that failed, and was said. */
static char *fork_once(struct command *c, const char *reference)
{
	json_t *body = json_pack("{s:i}", "n", 1), *answer = NULL;
	const char *id;
	char *copy;

	command_ask(c, "POST", body, &answer, "/v1/sandboxes/%s/fork", reference);
	id = json_string_value(json_array_get(json_object_get(answer, "children"), 0));
	copy = id ? strdup(id) : NULL;
	json_decref(answer);
	json_decref(body);
	return copy;
}

static void make_template(struct command *c, const char *sandbox, const char *name)
{
	json_t *body = json_pack("{s:s, s:s}", "sandbox", sandbox, "name", name);
	json_t *answer = NULL;

	if (command_ask(c, "POST", body, &answer, "/v1/templates") != 0)
		client_call(c->client, "DELETE", NULL, NULL, NULL, "/v1/sandboxes/%s",
			    sandbox);
	else if (c->json)
		command_print_json(c, answer);
	json_decref(answer);
	json_decref(body);
}

static int freeze(struct command *c, const char *sandbox, const char *name)
{
	cleanup_free char *reference = client_reference(sandbox), *fork = NULL;
	struct error err;

	c->client = client_open(c->api, sandbox, &err);
	if (!c->client)
		return explain(&err);
	hold_signals();
	fork = fork_once(c, reference);
	if (fork)
		make_template(c, fork, name);
	command_end(c);
	return c->status;
}

/* An image, or what is left of one that was being added. */
static bool is_image(const char *images, const char *name)
{
	cleanup_free char *image = NULL, *recipe = NULL;

	if (asprintf(&image, "%s/templates/%s" SUFFIX, images, name) < 0)
		image = NULL;
	if (asprintf(&recipe, "%s/recipes/%s", images, name) < 0)
		recipe = NULL;
	return (image && access(image, F_OK) == 0) || (recipe && access(recipe, F_OK) == 0);
}

/* One that the pffs which runs has made of a sandbox. */
static int remove_made(struct command *c, const char *name)
{
	cleanup_free char *reference = client_escape(name);
	struct error err, none;
	int r;

	error_say(&none, ENOENT, "there is no template %s", name);
	c->client = client_open(c->api, NULL, &err);
	if (!c->client)
		return explain(c->api || err.code == -EINVAL ? &err : &none);
	r = client_call(c->client, "DELETE", NULL, NULL, &err, "/v1/templates/%s",
			reference);
	command_end(c);
	return r < 0 ? explain(r == -ENOENT ? &none : &err) : 0;
}

static int go(struct command *c, const char *images)
{
	const char *what = c->operands[0];
	const char *const *operands = (const char *const *)&c->operands[1];
	int count = c->count - 1;

	if (strcmp(what, "list") == 0 && count == 0)
		return list(c, images);
	if (strcmp(what, "add") == 0 && count == 2)
		return become_build(images, "--recipe",
				    (const char *const[]){operands[1], operands[0], NULL});
	if (strcmp(what, "rm") == 0 && count == 1)
		return is_image(images, operands[0])
			   ? become_build(images, "--remove", operands)
			   : remove_made(c, operands[0]);
	if (strcmp(what, "freeze") == 0 && count == 2)
		return freeze(c, operands[0], operands[1]);
	return usage_error(c->name, "%s is not asked for in that way", what);
}

static int take(void *ctx, int option, const char *value)
{
	const char **images = ctx;

	(void)option;
	*images = value;
	return 0;
}

int cmd_template(int argc, char **argv)
{
	static const struct option options[] = {{"images", required_argument, NULL, 'i'},
						{0}};
	const char *images = paths_images();
	struct command c = {.help = help,
			    .options = options,
			    .take = take,
			    .ctx = &images,
			    .least = 1,
			    .most = 3};

	return command_parse(&c, argc, argv) ? go(&c, images) : c.status;
}
