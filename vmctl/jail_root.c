#include "vmctl/jail_root.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* Where files without names are, as long as this process can see it. */
static char directory[PATH_MAX];

static int check_directory(uid_t user, struct error *err)
{
	struct stat st;

	if (lstat(directory, &st) < 0)
		return error_set(err, errno, "cannot look at %s", directory);
	if (S_ISDIR(st.st_mode) && st.st_uid == user && !(st.st_mode & S_IRWXO))
		return 0;
	return error_say(err, EEXIST,
			 "%s is not the directory that VMs write their disks to: remove "
			 "it, or set TMPDIR",
			 directory);
}

/* One for all, so that nothing has to be removed when a process is killed. */
int jail_root_prepare(enum jail_root root, struct error *err)
{
	const char *parent = getenv("TMPDIR");
	uid_t user = geteuid();
	int r;

	if (root != JAIL_ROOT_FILES)
		return 0;
	snprintf(directory, sizeof(directory), "%s/pffs-vm-%u",
		 parent ? parent : "/var/tmp", user);
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", directory);
	r = check_directory(user, err);
	if (r < 0 || user != 0)
		return r;
	if (chown(directory, 0, JAIL_ID_FIRST) < 0 || chmod(directory, 01730) < 0)
		return error_set(err, errno, "cannot prepare %s", directory);
	return 0;
}

/* The mount at @path becomes the root; what was there before goes. */
static int pivot(const char *path)
{
	if (chdir(path) < 0)
		return -errno;
	if (syscall(SYS_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH) < 0 ? -errno : 0;
	if (errno != EINVAL) /* of the initramfs */
		return -errno;
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		return -errno;
	return 0;
}

/* Any directory will do to mount on: nobody else sees it. */
static int mount_root(enum jail_root root)
{
	const char *at = root == JAIL_ROOT_FILES ? directory : "/tmp";

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	if (root == JAIL_ROOT_EMPTY) {
		if (mount("none", at, "tmpfs", FLAGS | MS_RDONLY, "size=4k,mode=0555") < 0)
			return -errno;
		return pivot(at);
	}
	if (mount(at, at, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | FLAGS, NULL) < 0)
		return -errno;
	return pivot(at);
}

int jail_root_enter(enum jail_root root, bool private, struct error *err)
{
	bool files = root == JAIL_ROOT_FILES, inside = true;
	int r = 0;

	if (root == JAIL_ROOT_HOST)
		return 0;
	if (private)
		r = mount_root(root);
	else if (files)
		inside = chroot(directory) == 0;
	if (r == 0 && (files || private) && chdir(inside ? "/" : directory) < 0)
		r = -errno;
	if (r == 0 && files)
		r = setenv("TMPDIR", inside ? "/" : directory, 1) < 0 ? -errno : 0;
	return r < 0 ? error_set(err, -r, "cannot have a root directory for itself") : 0;
}
