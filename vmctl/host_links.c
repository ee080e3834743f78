#include "vmctl/host_links.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/host.h"
#include "vmctl/host_state.h"
#include "vmctl/images.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DISK_WAIT_MS  10000
#define DISK_PAUSE_NS 1000000

/* The name of the block device that a SCSI device, HOST:CHANNEL:TARGET:UNIT, became; to
 * free(). */
static char *block_of(const struct links *links, const char *device)
{
	cleanup_free char *path = NULL;
	cleanup_closedir DIR *blocks = NULL;
	const struct dirent *entry;

	if (asprintf(&path, "%s/sys/bus/scsi/devices/%s/block", links->root, device) < 0) {
		path = NULL;
		return NULL;
	}
	blocks = opendir(path);
	while (blocks && (entry = readdir(blocks)))
		if (entry->d_name[0] != '.')
			return strdup(entry->d_name);
	return NULL;
}

/*
 * What sysfs shows has neither to have its file in /dev yet, nor to be one that can be
 * opened.
 */
static char *open_block(const struct links *links, const char *block)
{
	cleanup_free char *path = block ? images_path(links->root, "dev/", block) : NULL;
	cleanup_close int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	return fd < 0 ? NULL : steal_pointer(&path);
}

/* The path of the block device of a unit, to free(), or NULL while there is none. */
static char *find_at(const struct links *links, int target, json_int_t unit)
{
	cleanup_free char *path = images_path(links->root, "sys/bus/scsi/devices", NULL);
	cleanup_closedir DIR *devices = path ? opendir(path) : NULL;
	cleanup_free char *block = NULL;
	const struct dirent *entry;
	char wanted[48];

	snprintf(wanted, sizeof(wanted), ":0:%d:%lld", target, (long long)unit);
	while (devices && !block && (entry = readdir(devices))) {
		const char *address = strchr(entry->d_name, ':');

		if (address && strcmp(address, wanted) == 0)
			block = block_of(links, entry->d_name);
	}
	return open_block(links, block);
}

static char *find_disk(const struct links *links, json_int_t unit)
{
	return find_at(links, 0, unit);
}

/* Have the kernel look for a unit; what it knows already stays as it is. */
static void scan_for(const struct links *links, json_int_t unit)
{
	cleanup_free char *path =
	    images_path(links->root, "sys/class/scsi_host/host0/scan", NULL);
	cleanup_close int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	char text[32];
	int len = snprintf(text, sizeof(text), "0 0 %lld\n", (long long)unit);

	if (fd < 0 || write(fd, text, (size_t)len) < 0)
		fprintf(stderr, "vmctl: cannot look for disk %lld: %s\n", (long long)unit,
			strerror(errno));
}

static int link_disk(const char *disk, const char *path, struct error *err)
{
	cleanup_free char *fresh = NULL;

	if (asprintf(&fresh, "%s.new", path) < 0) {
		fresh = NULL;
		return error_set(err, ENOMEM, "cannot link %s", path);
	}
	if (symlink(disk, fresh) < 0 || rename(fresh, path) < 0)
		return error_set(err, errno, "cannot link %s", path);
	return 0;
}

static void wait_a_bit(uint64_t *now)
{
	const struct timespec pause = {.tv_nsec = DISK_PAUSE_NS};

	nanosleep(&pause, NULL);
	*now = io_monotonic_ns();
}

static char *await_disk(const struct links *links, int target, json_int_t unit)
{
	uint64_t now = io_monotonic_ns(), until = now + links->wait_ms * 1000000ull;
	char *disk;

	while (!(disk = find_at(links, target, unit)) && now < until)
		wait_a_bit(&now);
	return disk;
}

char *links_state(const struct links *links, struct error *err)
{
	char *disk = await_disk(links, HOST_STATE_TARGET, 0);

	if (!disk)
		error_say(err, ENODEV, "the disk of frozen machines has not appeared");
	return disk;
}

static int link_upper(struct links *links, const char *path, struct error *err)
{
	cleanup_free char *disk = await_disk(links, 0, HOST_UPPER_UNIT);

	if (!disk)
		return error_say(err, ENODEV, "the upper disk has not appeared");
	return link_disk(disk, path, err);
}

int links_init(struct links *links, const char *images, const char *root, struct error *err)
{
	cleanup_free char *upper = images_path(images, "upper.ext4", NULL);
	cleanup_free char *folder = images_path(images, "templates", NULL);

	*links = (struct links){
	    .images = images,
	    .root = root,
	    .linked = json_object(),
	    .given_up = json_object(),
	    .wait_ms = DISK_WAIT_MS,
	};
	if (!upper || !folder || !links->linked || !links->given_up)
		return error_set(err, ENOMEM, "cannot link the disks");
	if (mkdir(folder, 0755) < 0)
		return error_set(err, errno, "cannot make %s", folder);
	return link_upper(links, upper, err);
}

void links_fini(struct links *links)
{
	json_decref(links->linked);
	json_decref(links->given_up);
}

static char *path_of(const struct links *links, const char *name)
{
	cleanup_free char *folder = images_path(links->images, "templates", NULL);

	return folder ? images_path(folder, name, IMAGES_SUFFIX) : NULL;
}

static void drop_template(struct links *links, const char *name)
{
	cleanup_free char *path = path_of(links, name);

	if (path)
		unlink(path);
	json_object_del(links->linked, name);
}

static void drop_others(struct links *links, const json_t *units)
{
	json_t *had = images_templates(links->images), *name;
	size_t i;

	json_array_foreach(had, i, name)
	{
		if (!json_object_get(units, json_string_value(name)))
			drop_template(links, json_string_value(name));
	}
	json_decref(had);
}

static bool has(const json_t *set, const char *name, const json_t *unit)
{
	return json_equal(json_object_get(set, name), unit);
}

static void give_up(struct links *links, const char *name, json_t *unit, const char *why)
{
	fprintf(stderr, "vmctl: template %s, disk %lld: %s\n", name,
		(long long)json_integer_value(unit), why);
	json_object_set(links->given_up, name, unit);
	drop_template(links, name);
}

/* What of @units is not linked yet, and the kernel told to look for it. Return: new. */
static json_t *look_for(struct links *links, json_t *units)
{
	json_t *wanted = json_object(), *unit;
	const char *name;

	json_object_foreach(units, name, unit)
	{
		cleanup_free char *known = NULL;

		if (has(links->linked, name, unit))
			continue;
		if (!images_is_name(name) || json_integer_value(unit) <= HOST_UPPER_UNIT) {
			fprintf(stderr,
				"vmctl: template %.64s: its name or disk is wrong\n", name);
			continue;
		}
		json_object_set(wanted, name, unit);
		known = find_disk(links, json_integer_value(unit));
		if (!known && !has(links->given_up, name, unit))
			scan_for(links, json_integer_value(unit));
	}
	return wanted;
}

/* Link what is there of @wanted, which it leaves. Return: whether to wait for others. */
static bool link_some(struct links *links, json_t *wanted)
{
	bool wait = false;
	const char *name;
	json_t *unit;
	void *next;

	json_object_foreach_safe(wanted, next, name, unit)
	{
		cleanup_free char *disk = find_disk(links, json_integer_value(unit));
		cleanup_free char *path = path_of(links, name);
		struct error err;

		if (!disk || !path) {
			wait |= !has(links->given_up, name, unit);
			continue;
		}
		if (link_disk(disk, path, &err) < 0)
			give_up(links, name, unit, err.text);
		else
			json_object_set(links->linked, name, unit);
		json_object_del(wanted, name);
	}
	return wait;
}

void links_take(struct links *links, const json_t *disks)
{
	json_int_t generation = json_integer_value(json_object_get(disks, "generation"));
	uint64_t now = io_monotonic_ns(), until = now + links->wait_ms * 1000000ull;
	json_t *units = json_object_get(disks, "units"), *wanted, *unit;
	const char *name;

	if (generation <= links->generation)
		return;
	links->generation = generation;
	drop_others(links, units);
	wanted = look_for(links, units);
	while (link_some(links, wanted) && now < until)
		wait_a_bit(&now);
	json_object_foreach(wanted, name, unit)
	{
		if (!has(links->given_up, name, unit))
			give_up(links, name, unit, "it has not appeared");
	}
	json_decref(wanted);
}
