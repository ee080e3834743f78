#include "vmctl/store.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/images.h"
#include "vmctl/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX	   ".vm"
#define NEW_SUFFIX ".new"

char *store_path(const struct store *store, const char *name)
{
	return images_path(store->dir, name, SUFFIX);
}

/* Whether @file is a NAME and @suffix; @name has room for one. */
static bool name_of(const char *file, const char *suffix, char name[65])
{
	size_t len = strlen(file), tail = strlen(suffix);

	if (len <= tail || len - tail > 64 || strcmp(file + len - tail, suffix) != 0)
		return false;
	memcpy(name, file, len - tail);
	name[len - tail] = '\0';
	return images_is_name(name);
}

static void remove_unfinished(const struct store *store)
{
	cleanup_closedir DIR *dir = opendir(store->dir);
	const struct dirent *entry;
	char name[65];

	while (dir && (entry = readdir(dir)))
		if (name_of(entry->d_name, NEW_SUFFIX, name))
			unlinkat(dirfd(dir), entry->d_name, 0);
}

static int lock(struct store *store, struct error *err)
{
	cleanup_free char *path = images_path(store->dir, "lock", NULL);
	int r;

	if (!path)
		return error_set(err, ENOMEM, "cannot use %s", store->dir);
	if (mkdir(store->dir, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", store->dir);
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock_fd < 0)
		return error_set(err, errno, "cannot use %s", store->dir);
	r = io_lock(store->lock_fd);
	if (r == -EWOULDBLOCK)
		return error_say(err, EBUSY,
				 "%s is used by another vmctl: give this one a state "
				 "directory of its own",
				 store->dir);
	return r < 0 ? error_set(err, -r, "cannot use %s", store->dir) : 0;
}

/* A memory that others are compared with, and no machine. */
static bool is_base(const struct store *store, const char *name)
{
	struct error ignored;
	cleanup_close int fd = store_read(store, name, &ignored);
	struct snapshot s;
	json_t *config = fd < 0 ? NULL : snapshot_peek(&s, fd, &ignored);
	bool is = config && !s.section[SNAPSHOT_KVM].offset;

	json_decref(config);
	return is;
}

json_t *store_bases(const struct store *store)
{
	json_t *names = store_list(store), *bases = json_array(), *each;
	size_t i;

	json_array_foreach(names, i, each)
	{
		if (is_base(store, json_string_value(each)))
			json_array_append(bases, each);
	}
	json_decref(names);
	return bases;
}

void store_open(struct store *store, const char *dir)
{
	*store = (struct store){.dir = dir, .lock_fd = -1};
	if (!dir) {
		error_say(
		    &store->why, ENOTSUP,
		    "machines cannot be frozen: vmctl has no state directory, or could not "
		    "use it; its log says which");
		return;
	}
	if (lock(store, &store->why) < 0) {
		store_close(store);
		return;
	}
	remove_unfinished(store);
}

void store_close(struct store *store)
{
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	store->lock_fd = -1;
	store->dir = NULL;
}

int store_check(const struct store *store, struct error *err)
{
	if (!store->dir)
		*err = store->why;
	return store->dir ? 0 : err->code;
}

bool store_has(const struct store *store, const char *name)
{
	cleanup_free char *path = store->dir ? store_path(store, name) : NULL;

	return path && access(path, F_OK) == 0;
}

int store_create(const struct store *store, const char *name, struct error *err)
{
	cleanup_free char *path = images_path(store->dir, name, NEW_SUFFIX);
	int fd;

	if (!path)
		return error_set(err, ENOMEM, "cannot freeze a machine");
	if (store_has(store, name))
		return error_say(err, EEXIST, "there is a frozen machine %s already", name);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return error_say(err, EBUSY, "%s is being frozen", name);
	return fd < 0 ? error_set(err, errno, "cannot make %s", path) : fd;
}

/* Make what was done to the directory last. */
static int sync_dir(const struct store *store)
{
	cleanup_close int fd = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int store_commit(const struct store *store, const char *name, struct error *err)
{
	cleanup_free char *from = images_path(store->dir, name, NEW_SUFFIX);
	cleanup_free char *to = store_path(store, name);
	int r;

	if (!from || !to || rename(from, to) < 0) {
		r = from && to ? errno : ENOMEM;
		store_abort(store, name);
		return error_set(err, r, "cannot keep the frozen machine");
	}
	r = sync_dir(store);
	if (r == 0)
		return 0;
	unlink(to);
	return error_set(err, -r, "cannot keep the frozen machine");
}

void store_abort(const struct store *store, const char *name)
{
	cleanup_free char *path = images_path(store->dir, name, NEW_SUFFIX);

	if (path)
		unlink(path);
}

int store_read(const struct store *store, const char *name, struct error *err)
{
	cleanup_free char *path = store_path(store, name);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (!path)
		return error_set(err, ENOMEM, "cannot read a frozen machine");
	if (fd < 0 && errno == ENOENT)
		return error_say(err, ENOENT, "there is no frozen machine %s", name);
	return fd < 0 ? error_set(err, errno, "cannot read %s", path) : fd;
}

json_t *store_describe(const struct store *store, const char *name, struct error *err)
{
	cleanup_close int fd = store_read(store, name, err);
	json_t *config = NULL;
	struct snapshot s;

	if (fd >= 0)
		config = snapshot_peek(&s, fd, err);
	if (!config)
		return NULL;
	json_object_set_new(config, "image", json_string(name));
	json_object_set_new(config, "bytes", json_integer((json_int_t)s.len));
	return config;
}

json_t *store_list(const struct store *store)
{
	cleanup_closedir DIR *dir = store->dir ? opendir(store->dir) : NULL;
	json_t *names = json_array();
	const struct dirent *entry;
	char name[65];

	while (dir && (entry = readdir(dir)))
		if (name_of(entry->d_name, SUFFIX, name))
			json_array_append_new(names, json_string(name));
	return names;
}

static bool is_of(const struct store *store, const char *name, const char *group)
{
	struct error ignored;
	json_t *config = store_describe(store, name, &ignored);
	const char *its = json_string_value(json_object_get(config, "group"));
	bool is = its && strcmp(its, group) == 0;

	json_decref(config);
	return is;
}

json_t *store_list_group(const struct store *store, const char *group, size_t max)
{
	json_t *names = store_list(store), *some = json_array(), *each;
	size_t i;

	json_array_foreach(names, i, each)
	{
		if (json_array_size(some) < max &&
		    is_of(store, json_string_value(each), group))
			json_array_append(some, each);
	}
	json_decref(names);
	return some;
}

int store_remove(const struct store *store, const char *name, struct error *err)
{
	cleanup_free char *path = store_path(store, name);

	if (!path)
		return error_set(err, ENOMEM, "cannot remove a frozen machine");
	if (unlink(path) < 0)
		return errno == ENOENT
			   ? error_say(err, ENOENT, "there is no frozen machine %s", name)
			   : error_set(err, errno, "cannot remove %s", path);
	return 0;
}

bool store_needs(const struct store *store, const char *name)
{
	json_t *names = store_list(store), *each;
	bool needed = false;
	size_t i;

	json_array_foreach(names, i, each)
	{
		struct error ignored;
		json_t *config = store_describe(store, json_string_value(each), &ignored);
		const char *base = json_string_value(json_object_get(config, "base"));

		needed |= base && strcmp(base, name) == 0;
		json_decref(config);
	}
	json_decref(names);
	return needed;
}
