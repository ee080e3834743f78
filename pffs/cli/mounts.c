#include "pffs/cli/mounts.h"

#include "pffs/fs/fs.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

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
		    strcmp(entry->mnt_fsname, MOUNTS_WHOLE) != 0 ||
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

char *mounts_holding(const char *path)
{
	unsigned count;

	return find_mount(path, &count);
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

int mounts_find(const char *sandbox, char **path, struct error *err)
{
	cleanup_free char *given = NULL;
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
	if (!is_sandbox(*path))
		return error_say(err, EINVAL, "%s is not the directory of a sandbox",
				 given);
	return 0;
}

int mounts_resolve(const char *sandbox, char **path, char **mount, struct error *err)
{
	unsigned count;
	int r = mounts_find(sandbox, path, err);

	if (r < 0)
		return r;
	*mount = find_mount(*path, &count);
	return *mount ? 0
		      : error_say(err, EINVAL, "%s is not in a mount of all sandboxes",
				  sandbox);
}

int mounts_explain(const char *dir, int errnum, const char *what, struct error *err)
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

bool mounts_at(const char *dir)
{
	FILE *mounts = setmntent(MOUNTS, "re");
	const struct mntent *entry;
	bool found = false;

	while (mounts && !found && (entry = getmntent(mounts)))
		found = strcmp(entry->mnt_type, MOUNT_TYPE) == 0 &&
			strcmp(entry->mnt_dir, dir) == 0;
	if (mounts)
		endmntent(mounts);
	return found;
}

bool mounts_dead(int errnum)
{
	return errnum == ENOTCONN || errnum == ECONNABORTED;
}

/* The session is kept, since libfuse frees all of it only when it unmounts; its own
 * descriptor is not, or the mount would outlive who serves it. */
int mounts_make(const char *dir, const char *name, bool allow_other, struct error *err)
{
	static const struct fuse_lowlevel_ops nothing;
	static struct fuse_session *session;
	char options[256];
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int fd = -1, r = fuse_opt_add_arg(&args, "pffs");

	r |= snprintf(options, sizeof(options), FS_MOUNT_OPTIONS "fsname=%s", name) < 0;
	r |= fuse_opt_add_arg(&args, options);
	if (allow_other)
		r |= fuse_opt_add_arg(&args, "-oallow_other");
	if (r == 0)
		session = fuse_session_new(&args, &nothing, sizeof(nothing), NULL);
	fuse_opt_free_args(&args);
	if (session && fuse_session_mount(session, dir) == 0) {
		fd = fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 0);
		close(fuse_session_fd(session));
	}
	return fd >= 0 ? fd
		       : error_say(err, EIO,
				   "cannot mount at %s: `pffs doctor` says what is missing",
				   dir);
}

/* Whoever may not unmount by himself is helped by fusermount3, as at mounting. */
int mounts_unmount(const char *dir, int flags)
{
	int status = 0;
	pid_t pid;

	if (umount2(dir, flags) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	pid = fork();
	if (pid == 0) {
		execlp("fusermount3", "fusermount3", flags & MNT_DETACH ? "-uz" : "-u",
		       "-q", "--", dir, NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}
