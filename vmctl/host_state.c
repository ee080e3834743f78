#include "vmctl/host_state.h"

#include "util/cleanup.h"
#include "vmctl/images.h"
#include "vmctl/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define FILE_NAME   "emulated.img"
#define MKFS	    "/sbin/mke2fs"
#define MKFS_LAYOUT "packed_meta_blocks=1,lazy_itable_init=0,lazy_journal_init=1,nodiscard"
#define SIZE_MIN    (32ull << 20)
#define SIZE_MAX_   (256ull << 30)
#define MIB	    (1ull << 20)

/* Of ext4: journal, inodes, descriptors and directories, and bitmaps of each group. */
#define RESERVED       (16 * MIB)
#define GROUP_SIZE     (128 * MIB)
#define RESERVED_GROUP (24ull << 10)

/* Four fifths of what is free, in whole MiB. */
static uint64_t choose_size(const char *dir)
{
	struct statvfs st;
	uint64_t size;

	if (statvfs(dir, &st) < 0)
		return 0;
	size = (uint64_t)st.f_bavail * st.f_frsize / 5 * 4 / MIB * MIB;
	return size < SIZE_MAX_ ? size : SIZE_MAX_;
}

/* One that is there may be what the MKFS of a vmctl that was killed goes on writing to. */
static int make_file(const char *path, uint64_t size, struct error *err)
{
	int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
	cleanup_close int fd = -1;

	unlink(path);
	fd = open(path, flags, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return error_set(err, errno, "cannot make %s", path);
	return 0;
}

/* There will be few files, and large ones; what is zeros stays a hole. But what the file
 * system itself needs stands together at the beginning. */
static int make_file_system(const char *path, struct error *err)
{
	const char *argv[] = {MKFS,	"-q", "-F",	   "-t", "ext4", "-b",
			      "4096",	"-m", "0",	   "-N", "8192", "-J",
			      "size=8", "-E", MKFS_LAYOUT, path, NULL};
	const struct spawn_options options = {.with_parent = true};
	pid_t pid = spawn(MKFS, argv, &options, err);
	int status;

	if (pid == -ENOENT)
		return error_say(err, ENOENT,
				 MKFS " is not installed: apt-get install e2fsprogs");
	if (pid < 0)
		return pid;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status
		   ? error_say(err, EIO, MKFS " could not make a file system in %s", path)
		   : 0;
}

/*
 * Nothing of what the file system itself needs may be a hole. When the host's disk is full
 * a file of it cannot be written, which is told, but without its journal it would be
 * read-only from then on.
 */
static int reserve(const char *path, uint64_t size, struct error *err)
{
	uint64_t need = RESERVED + size / GROUP_SIZE * RESERVED_GROUP;
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	int r = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)(need < size ? need : size));

	return r ? error_set(err, r, "cannot make %s", path) : 0;
}

static int make_disk(const struct store *store, const char *path, struct error *err)
{
	uint64_t size = choose_size(store->dir);
	cleanup_free char *fresh = NULL;
	int r;

	if (asprintf(&fresh, "%s.tmp", path) < 0) {
		fresh = NULL;
		return error_set(err, ENOMEM, "cannot make a disk for frozen machines");
	}
	if (size < SIZE_MIN)
		return error_say(err, ENOSPC, "%s has no room for frozen machines",
				 store->dir);
	r = make_file(fresh, size, err);
	if (r == 0)
		r = make_file_system(fresh, err);
	if (r == 0)
		r = reserve(fresh, size, err);
	if (r == 0 && rename(fresh, path) < 0)
		r = error_set(err, errno, "cannot make %s", path);
	if (r < 0)
		unlink(fresh);
	return r;
}

char *host_state_prepare(const struct store *store, struct error *err)
{
	cleanup_free char *path = images_path(store->dir, FILE_NAME, NULL);

	if (!path)
		error_set(err, ENOMEM, "cannot make a disk for frozen machines");
	else if (access(path, F_OK) == 0 || make_disk(store, path, err) == 0)
		return steal_pointer(&path);
	return NULL;
}

int host_state_mount(const char *device, const char *dir, struct error *err)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", dir);
	if (mount(device, dir, "ext4", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME,
		  "discard") < 0)
		return error_set(err, errno, "cannot mount the disk of frozen machines");
	return 0;
}
