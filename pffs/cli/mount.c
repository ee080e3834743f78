/*
 * pffs mount: check the directory, and serve it.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/mounts.h"
#include "pffs/cli/only.h"
#include "pffs/cli/paths.h"
#include "pffs/cli/serving.h"
#include "util/cleanup.h"
#include "util/list.h"

#include <errno.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const char help[] =
    "usage: pffs mount DIR [OPTION...]\n"
    "\n"
    "Serves sandboxes as directories under DIR, which is made when it is missing.\n"
    "Starts a vmctl when none listens at its socket.\n"
    "\n"
    "       pffs mount --only SANDBOX DIR [--allow-other] [--foreground]\n"
    "\n"
    "Mounts one sandbox of a pffs that runs, and nothing else of it: for a container.\n"
    "SANDBOX is the path of its directory, or its name when there is one mount.\n"
    "\n"
    "  --allow-other       let other users in, by the modes of the directories\n";

struct mount_options {
	struct serving serving;
	const char *only;
};

static int take(struct serving *serving, int option)
{
	struct mount_options *o = container_of(serving, struct mount_options, serving);

	if (option == 'n')
		o->only = optarg;
	else if (option == 'o')
		serving->daemon.allow_other = true;
	else
		return -EINVAL;
	return 0;
}

/* Return: as serving_parse(). */
static int parse(int argc, char **argv, struct mount_options *o)
{
	static const struct option options[] = {
	    SERVING_OPTIONS,
	    {"only", required_argument, NULL, 'n'},
	    {"allow-other", no_argument, NULL, 'o'},
	    {0},
	};
	int r;

	o->serving.options = options;
	o->serving.take = take;
	r = serving_parse(argc, argv, &o->serving);
	if (r != 0)
		return r;
	if (optind + 1 != argc) {
		usage_error(argv[0], "%s",
			    optind == argc ? "it is not said where to mount"
					   : "it is one DIR");
		return -EINVAL;
	}
	o->serving.daemon.mountpoint = argv[optind];
	return 0;
}

/* An earlier daemon that died left a mount that answers nothing: take it away. */
static int prepare_directory(const char *dir, struct error *err)
{
	struct stat st;

	if (stat(dir, &st) < 0 && mounts_dead(errno))
		mounts_unmount(dir, MNT_DETACH);
	if (stat(dir, &st) < 0 && (errno != ENOENT || mkdir(dir, 0755) < 0))
		return error_set(err, errno, "cannot mount at %s", dir);
	if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode))
		return error_say(err, ENOTDIR, "%s is not a directory", dir);
	return 0;
}

static int refuse_second_mount(const char *dir, struct error *err)
{
	if (mounts_at(dir))
		return error_say(err, EBUSY, "%s is mounted already: pffs umount %s", dir,
				 dir);
	return 0;
}

static int go_only(const struct mount_options *o, const char *dir)
{
	const struct only_options options = {.sandbox = o->only,
					     .dir = dir,
					     .allow_other = o->serving.daemon.allow_other,
					     .foreground = o->serving.foreground};
	struct error err;

	return only_mount(&options, &err) < 0 ? serving_explain(&err) : 0;
}

static int go(struct mount_options *o)
{
	const char *given = o->serving.daemon.mountpoint;
	cleanup_free char *dir = NULL;
	struct error err;
	int r = prepare_directory(given, &err);

	if (r < 0)
		return serving_explain(&err);
	o->serving.daemon.mountpoint = dir = realpath(given, NULL);
	if (!dir) {
		error_set(&err, errno, "cannot resolve %s", given);
		return serving_explain(&err);
	}
	if (refuse_second_mount(dir, &err) < 0)
		return serving_explain(&err);
	if (o->only)
		return go_only(o, dir);
	return serving_run(&o->serving);
}

int cmd_mount(int argc, char **argv)
{
	struct mount_options o = {
	    .serving = {.command = "mount", .daemon = SERVING_DEFAULTS}};
	int r = parse(argc, argv, &o);

	if (r > 0) {
		fputs(help, stdout);
		fputs(serving_help, stdout);
	}
	if (r != 0)
		return r < 0 ? EXIT_USAGE : 0;
	return go(&o);
}
