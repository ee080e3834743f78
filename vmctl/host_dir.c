#include "vmctl/host_dir.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SUFFIX	 ".host"
#define FILE_MAX (64u << 20)

/* However long the directory's own path is, this fits a socket's address. */
static char *path_in(const struct host_dir *dir, const char *name)
{
	char *path;

	return asprintf(&path, "/proc/self/fd/%d/%s", dir->fd, name) < 0 ? NULL : path;
}

static int lock(const struct host_dir *dir, struct error *err)
{
	int r = io_lock(dir->fd);

	if (r == -EWOULDBLOCK)
		return error_say(err, EBUSY, "%s is used by another vmctl", dir->path);
	return r < 0 ? error_set(err, -r, "cannot use %s", dir->path) : 0;
}

int host_dir_open(struct host_dir *dir, const char *socket, struct error *err)
{
	struct stat st;

	*dir = (struct host_dir){.fd = -1};
	if (asprintf(&dir->path, "%s" SUFFIX, socket) < 0) {
		dir->path = NULL;
		return error_set(err, ENOMEM, "cannot start the emulated host");
	}
	if (mkdir(dir->path, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", dir->path);
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir->fd < 0 || fstat(dir->fd, &st) < 0)
		return error_set(err, errno, "cannot use %s", dir->path);
	if (st.st_uid != geteuid() || st.st_mode & 077)
		return error_say(err, EPERM,
				 "%s is not this user's alone: remove it, or give vmctl "
				 "another --socket",
				 dir->path);
	return lock(dir, err);
}

void host_dir_close(struct host_dir *dir)
{
	if (dir->fd >= 0)
		close(dir->fd);
	free(dir->path);
	*dir = (struct host_dir){.fd = -1};
}

void host_dir_clear(const struct host_dir *dir)
{
	cleanup_closedir DIR *files = opendir(dir->path);
	const struct dirent *entry;

	while (files && (entry = readdir(files)))
		if (entry->d_name[0] != '.')
			unlinkat(dir->fd, entry->d_name, 0);
}

void host_dir_remove(const struct host_dir *dir)
{
	host_dir_clear(dir);
	rmdir(dir->path);
}

int host_dir_listen(const struct host_dir *dir, const char *name, struct error *err)
{
	cleanup_free char *path = path_in(dir, name);

	return path ? io_listen_unix(path, err)
		    : error_set(err, ENOMEM, "cannot start the emulated host");
}

int host_dir_connect(const struct host_dir *dir, const char *name, pid_t *peer)
{
	cleanup_free char *path = path_in(dir, name);
	struct error err;
	cleanup_close int fd = path ? io_connect_unix(path, &err) : -ENOMEM;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int r;

	if (fd < 0)
		return fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	if (peer)
		*peer = cred.pid;
	r = io_set_nonblock(fd, true);
	return r < 0 ? r : steal_fd(&fd);
}

int host_dir_fifo(const struct host_dir *dir, const char *name, int flags,
		  struct error *err)
{
	int fd = -1;

	if (mkfifoat(dir->fd, name, 0600) == 0 || errno == EEXIST)
		fd = openat(dir->fd, name, flags | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? error_set(err, errno, "cannot use %s/%s", dir->path, name) : fd;
}

int host_dir_put(const struct host_dir *dir, const char *name, json_t *value)
{
	cleanup_free char *path = path_in(dir, name), *fresh = NULL;
	int r = -ENOMEM;

	if (path && asprintf(&fresh, "%s.new", path) < 0)
		fresh = NULL;
	if (fresh && value) {
		r = json_dump_file(value, fresh, JSON_COMPACT) == 0 ? 0 : -EIO;
		if (r == 0 && rename(fresh, path) < 0)
			r = -errno;
	}
	json_decref(value);
	return r;
}

int host_dir_get(const struct host_dir *dir, const char *name, json_t **value)
{
	cleanup_free char *path = path_in(dir, name), *text = NULL;
	struct error err = {.code = -ENOMEM};
	json_error_t why;
	size_t len;

	*value = NULL;
	if (path)
		text = io_read_file(path, FILE_MAX, &len, &err);
	if (!text)
		return err.code == -ENOENT ? 0 : err.code;
	*value = json_loadb(text, len, 0, &why);
	return !*value && json_error_code(&why) == json_error_out_of_memory ? -ENOMEM : 0;
}
