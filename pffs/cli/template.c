/*
 * pffs template: what sandboxes are made from.
 *
 * Images are made and removed by the script that makes all images, which this
 * program becomes; what they are is read from the files beside them.
 */
#include "pffs/cli/commands.h"
#include "pffs/cli/freeze.h"
#include "pffs/cli/paths.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>

#define SUFFIX	 ".erofs"
#define INFO_MAX 65536

static const char help[] =
    "usage: pffs template list [--images DIR]\n"
    "       pffs template add [--images DIR] NAME RECIPE\n"
    "       pffs template rm [--images DIR] NAME\n"
    "       pffs template freeze SANDBOX NAME\n"
    "\n"
    "list    the images that sandboxes can be made from\n"
    "add     make one of RECIPE, a folder with\n"
    "          packages    names of Debian packages, one a line; may be empty\n"
    "          base        if there: the recipe that this one adds to, like `default`\n"
    "          files/      if there: is copied over the root directory\n"
    "          customise   if there: is run last, with the new root as its argument\n"
    "rm      remove one; sandboxes that were made from it live on\n"
    "freeze  make a template of a sandbox in which no run goes on, as it is, for as long\n"
    "        as the mount lives; the sandbox itself goes on. SANDBOX is its directory,\n"
    "        or its name if there is one mount\n"
    "\n"
    "  --images DIR    where the images are (PFFS_IMAGES, else /var/cache/pffs)\n";

static int explain(const struct error *err)
{
	fprintf(stderr, "pffs: %s\n", err->text);
	return 1;
}

static int usage(bool asked)
{
	fputs(help, asked ? stdout : stderr);
	return asked ? 0 : 2;
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

/* The value of a KEY VALUE line in @info, to free(); "-" when there is none. */
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
	return strdup("-");
}

static void list_one(const char *folder, const char *name, int len)
{
	cleanup_free char *path = NULL, *info = NULL, *packages = NULL, *size = NULL;
	cleanup_free char *built = NULL;
	size_t info_len;

	if (asprintf(&path, "%s/%.*s.info", folder, len, name) < 0)
		path = NULL;
	else
		info = io_read_file(path, INFO_MAX, &info_len, NULL);
	packages = value_of(info, "packages");
	size = value_of(info, "size");
	built = value_of(info, "built");
	if (packages && size && built)
		printf("%-24.*s %8s %7llu  %s\n", len, name, packages,
		       strtoull(size, NULL, 10) >> 20, built);
}

static int list(const char *images)
{
	cleanup_free struct dirent **files = NULL;
	cleanup_free char *folder = NULL;
	int count;

	if (asprintf(&folder, "%s/templates", images) < 0) {
		folder = NULL;
		return 1;
	}
	count = scandir(folder, &files, NULL, alphasort);
	if (count < 0 && errno != ENOENT) {
		fprintf(stderr, "pffs: cannot read %s: %s\n", folder, strerror(errno));
		return 1;
	}
	printf("%-24s %8s %7s  %s\n", "NAME", "PACKAGES", "MIB", "BUILT");
	for (int i = 0; i < count; i++) {
		const char *dot = strrchr(files[i]->d_name, '.');

		if (files[i]->d_name[0] != '.' && dot && strcmp(dot, SUFFIX) == 0)
			list_one(folder, files[i]->d_name, (int)(dot - files[i]->d_name));
		free(files[i]);
	}
	return 0;
}

static int go(const char *what, const char *images, const char *const *operands, int count)
{
	struct error err;

	if (strcmp(what, "list") == 0 && count == 0)
		return list(images);
	if (strcmp(what, "add") == 0 && count == 2)
		return become_build(images, "--recipe",
				    (const char *const[]){operands[1], operands[0], NULL});
	if (strcmp(what, "rm") == 0 && count == 1)
		return become_build(images, "--remove", operands);
	if (strcmp(what, "freeze") == 0 && count == 2)
		return freeze(operands[0], operands[1], &err) < 0 ? explain(&err) : 0;
	return usage(false);
}

int cmd_template(int argc, char **argv)
{
	static const struct option options[] = {
	    {"images", required_argument, NULL, 'i'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	const char *images = paths_images();
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'i')
			images = optarg;
		else
			return usage(option == 'h');
	}
	if (optind == argc)
		return usage(false);
	return go(argv[optind], images, (const char *const *)&argv[optind + 1],
		  argc - optind - 1);
}
