#include "vmctl/host_links.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/host.h"
#include "vmctl/images.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DEVICES	      "/sys/bus/scsi/devices"
#define DISK_WAIT_MS  10000
#define DISK_PAUSE_NS 1000000

/* The block device that a SCSI device, HOST:CHANNEL:TARGET:UNIT, became; to free(). */
static char *block_of(const char *device)
{
	cleanup_free char *path = NULL;
	cleanup_closedir DIR *blocks = NULL;
	const struct dirent *entry;
	char *disk = NULL;

	if (asprintf(&path, DEVICES "/%s/block", device) < 0) {
		path = NULL;
		return NULL;
	}
	blocks = opendir(path);
	while (blocks && !disk && (entry = readdir(blocks)))
		if (entry->d_name[0] != '.' &&
		    asprintf(&disk, "/dev/%s", entry->d_name) < 0)
			return NULL;
	return disk;
}

/* The path of the block device of a unit, to free(), or NULL while there is none. */
static char *find_disk(int unit)
{
	cleanup_closedir DIR *devices = opendir(DEVICES);
	const struct dirent *entry;
	char wanted[32];

	snprintf(wanted, sizeof(wanted), ":0:0:%d", unit);
	while (devices && (entry = readdir(devices))) {
		const char *address = strchr(entry->d_name, ':');

		if (address && strcmp(address, wanted) == 0)
			return block_of(entry->d_name);
	}
	return NULL;
}

/* Have the kernel look for a unit; what it knows already stays as it is. */
static void scan_for(int unit)
{
	cleanup_close int fd =
	    open("/sys/class/scsi_host/host0/scan", O_WRONLY | O_CLOEXEC);
	char text[32];
	int len = snprintf(text, sizeof(text), "0 0 %d\n", unit);

	if (fd < 0 || write(fd, text, (size_t)len) < 0)
		fprintf(stderr, "vmctl: cannot look for disk %d: %s\n", unit,
			strerror(errno));
}

static char *wait_disk(int unit, struct error *err)
{
	uint64_t until = io_monotonic_ns() + DISK_WAIT_MS * 1000000ull;
	const struct timespec pause = {.tv_nsec = DISK_PAUSE_NS};
	char *disk;

	while (!(disk = find_disk(unit)) && io_monotonic_ns() < until)
		nanosleep(&pause, NULL);
	if (!disk)
		error_say(err, ENODEV, "disk %d has not appeared", unit);
	return disk;
}

static int link_disk(int unit, const char *path, struct error *err)
{
	cleanup_free char *disk = wait_disk(unit, err), *fresh = NULL;

	if (!disk)
		return err->code;
	if (asprintf(&fresh, "%s.new", path) < 0) {
		fresh = NULL;
		return error_set(err, ENOMEM, "cannot link %s", path);
	}
	if (symlink(disk, fresh) < 0 || rename(fresh, path) < 0)
		return error_set(err, errno, "cannot link %s", path);
	return 0;
}

int links_init(const char *images, struct error *err)
{
	cleanup_free char *upper = images_path(images, "upper.ext4", NULL);
	cleanup_free char *folder = images_path(images, "templates", NULL);

	if (!upper || !folder)
		return error_set(err, ENOMEM, "cannot link the disks");
	if (mkdir(folder, 0755) < 0)
		return error_set(err, errno, "cannot make %s", folder);
	return link_disk(HOST_UPPER_UNIT, upper, err);
}

static int link_template(const char *folder, const char *name, int unit, struct error *err)
{
	cleanup_free char *path = images_path(folder, name, IMAGES_SUFFIX);
	cleanup_free char *known = find_disk(unit);

	if (!images_is_name(name) || unit <= HOST_UPPER_UNIT)
		return error_say(err, EINVAL, "its name or its disk %d is wrong", unit);
	if (!known)
		scan_for(unit);
	return path ? link_disk(unit, path, err) : error_set(err, ENOMEM, "cannot link it");
}

static void drop_template(const char *folder, const char *name)
{
	cleanup_free char *path = images_path(folder, name, IMAGES_SUFFIX);

	if (path)
		unlink(path);
}

void links_take(const char *images, const json_t *units)
{
	cleanup_free char *folder = images_path(images, "templates", NULL);
	json_t *had = images_templates(images), *name, *unit;
	const char *key;
	struct error err;
	size_t i;

	json_array_foreach(
	    had, i, name) if (folder && !json_object_get(units, json_string_value(name)))
	    drop_template(folder, json_string_value(name));
	json_object_foreach(
	    (json_t *)units, key,
	    unit) if (folder &&
		      link_template(folder, key, (int)json_integer_value(unit), &err) < 0)
	{
		fprintf(stderr, "vmctl: template %s: %s\n", key, err.text);
		drop_template(folder, key);
	}
	json_decref(had);
}
