#include "pffs/cli/freeze.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define MOUNTS	   "/proc/self/mounts"
#define MOUNT_TYPE "fuse.pffs"
#define ERROR_MAX  4096

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && path[len] == '/';
}

/*
 * The mount that @path is below, or any with @path NULL.
 * Return: a string to free(), or NULL; @count is set to how many there are.
 */
static char *find_mount(const char *path, unsigned *count)
{
	cleanup_free char *found = NULL;
	FILE *mounts = setmntent(MOUNTS, "re");
	const struct mntent *entry;

	*count = 0;
	while (mounts && (entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_type, MOUNT_TYPE) != 0 ||
		    (path && !is_below(path, entry->mnt_dir)))
			continue;
		if (found && strcmp(found, entry->mnt_dir) == 0)
			continue;
		free(found);
		found = strdup(entry->mnt_dir);
		++*count;
	}
	if (mounts)
		endmntent(mounts);
	return steal_pointer(&found);
}

/* The path of a sandbox that is given by its name, to free(), or NULL with @err. */
static char *path_of_name(const char *name, struct error *err)
{
	unsigned count;
	cleanup_free char *mount = find_mount(NULL, &count);
	char *path = NULL;

	if (count != 1)
		error_say(err, count ? EINVAL : ENOENT,
			  "%s: give the path of the sandbox's directory",
			  count ? "there are several mounts" : "nothing is mounted");
	else if (!mount || asprintf(&path, "%s/%s", mount, name) < 0)
		error_set(err, ENOMEM, "cannot look for %s", name);
	return path;
}

static bool is_sandbox(const char *path)
{
	cleanup_free char *forks = NULL;
	struct stat st;

	if (asprintf(&forks, "%s/forks", path) < 0) {
		forks = NULL;
		return false;
	}
	return stat(forks, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Fill @path and @mount, to free(). */
static int resolve(const char *sandbox, char **path, char **mount, struct error *err)
{
	cleanup_free char *given = NULL;
	unsigned count;
	struct stat st;

	if (!strchr(sandbox, '/') && stat(sandbox, &st) < 0)
		given = path_of_name(sandbox, err);
	else
		given = strdup(sandbox);
	if (!given)
		return err->code;
	*path = realpath(given, NULL);
	if (!*path)
		return error_set(err, errno, "there is no sandbox %s", given);
	*mount = find_mount(*path, &count);
	if (!*mount || !is_sandbox(*path))
		return error_say(err, EINVAL, "%s is not the directory of a sandbox",
				 given);
	return 0;
}

/* Say why an operation failed: @errnum, unless the mount has a sentence for it. */
static int explain(const char *dir, int errnum, const char *what, struct error *err)
{
	cleanup_free char *path = NULL, *text = NULL;
	size_t len;

	if (asprintf(&path, "%s/error", dir) < 0)
		path = NULL;
	else
		text = io_read_file(path, ERROR_MAX, &len, NULL);
	if (!text || !*text)
		return error_set(err, errnum, "%s", what);
	text[strcspn(text, "\n")] = '\0';
	return error_say(err, errnum, "%s: %s", what, text);
}

/* From now on no signal but SIGKILL leaves the fork behind. */
static void hold_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

int freeze(const char *sandbox, const char *name, struct error *err)
{
	cleanup_free char *path = NULL, *mount = NULL, *fork = NULL, *template = NULL;
	int r = resolve(sandbox, &path, &mount, err);

	if (r < 0)
		return r;
	if (asprintf(&fork, "%s/forks/freeze-%d-%llx", path, getpid(),
		     (unsigned long long)io_monotonic_ns()) < 0)
		fork = NULL;
	if (asprintf(&template, "%s/templates/%s", mount, name) < 0)
		template = NULL;
	if (!fork || !template)
		return error_set(err, ENOMEM, "cannot freeze %s", sandbox);
	hold_signals();
	if (mkdir(fork, 0700) < 0)
		return explain(path, errno, "cannot fork the sandbox", err);
	if (rename(fork, template) == 0)
		return 0;
	r = explain(mount, errno, "cannot make a template of the sandbox", err);
	rmdir(fork);
	return r;
}
