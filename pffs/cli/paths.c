#include "pffs/cli/paths.h"

#include "util/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGES "/var/cache/pffs"

/* A directory that another user made in /tmp is not ours to trust. */
static int make_private_dir(const char *path, struct error *err)
{
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", path);
	if (lstat(path, &st) < 0)
		return error_set(err, errno, "cannot look at %s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != getuid())
		return error_say(err, EPERM, "%s is not a directory of this user", path);
	return 0;
}

char *paths_runtime_dir(struct error *err)
{
	const char *set = getenv("PFFS_RUNTIME_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");
	cleanup_free char *path = NULL;
	int n;

	if (set && *set)
		n = asprintf(&path, "%s", set);
	else if (getuid() == 0)
		n = asprintf(&path, "/run/pffs");
	else if (xdg && *xdg)
		n = asprintf(&path, "%s/pffs", xdg);
	else
		n = asprintf(&path, "/tmp/pffs-%u", getuid());
	if (n < 0) {
		path = NULL;
		error_set(err, ENOMEM, "cannot name the runtime directory");
		return NULL;
	}
	return make_private_dir(path, err) < 0 ? NULL : steal_pointer(&path);
}

char *paths_socket(struct error *err)
{
	const char *set = getenv("PFFS_VMCTL_SOCKET");
	cleanup_free char *dir = NULL;
	char *path = NULL;

	if (set && *set)
		return strdup(set);
	dir = paths_runtime_dir(err);
	if (!dir)
		return NULL;
	return asprintf(&path, "%s/vmctl.sock", dir) < 0 ? NULL : path;
}

const char *paths_images(void)
{
	const char *set = getenv("PFFS_IMAGES");

	return set && *set ? set : IMAGES;
}

char *paths_state(void)
{
	const char *set = getenv("PFFS_STATE"), *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	char *path = NULL;
	int n = -1;

	if (set && *set)
		return strdup(set);
	if (getuid() == 0)
		return strdup("/var/lib/pffs");
	if (xdg && *xdg)
		n = asprintf(&path, "%s/pffs", xdg);
	else if (home && *home)
		n = asprintf(&path, "%s/.local/state/pffs", home);
	return n < 0 ? NULL : path;
}

const char *paths_spool(void)
{
	const char *set = getenv("TMPDIR");

	return set && *set ? set : "/var/tmp";
}

static char *executable(const char *dir, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return NULL;
	if (access(path, X_OK) == 0)
		return path;
	free(path);
	return NULL;
}

/* One of @names as seen from the folder of this program; to free(), or NULL. */
static char *beside_self(const char *const *names, size_t count)
{
	char self[PATH_MAX], *slash, *path = NULL;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct stat st;

	self[len > 0 ? len : 0] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return NULL;
	*slash = '\0';
	for (size_t i = 0; !path && i < count; i++) {
		path = executable(self, names[i]);
		if (path && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
			free(path);
			path = NULL;
		}
	}
	return path;
}

char *paths_vmctl(struct error *err)
{
	static const char *const beside[] = {"vmctl", "../vmctl/vmctl"};
	const char *set = getenv("PFFS_VMCTL");
	char *path;

	if (set && *set)
		return strdup(set);
	path = beside_self(beside, sizeof(beside) / sizeof(beside[0]));
	if (!path)
		path = executable(LIBEXECDIR, "vmctl");
	if (!path)
		error_say(err, ENOENT,
			  "the program vmctl is missing: run make install, or "
			  "set PFFS_VMCTL to its path");
	return path;
}

char *paths_build(struct error *err)
{
	static const char *const beside[] = {"../guest/images/build"};
	char *path = beside_self(beside, 1);

	if (!path)
		path = executable(PKGDATADIR, "guest/images/build");
	if (!path)
		error_say(err, ENOENT,
			  "the script that makes images is missing (" PKGDATADIR
			  "/guest/images/build): run make install");
	return path;
}
