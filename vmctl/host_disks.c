#include "vmctl/host_disks.h"

#include "util/cleanup.h"
#include "vmctl/host.h"
#include "vmctl/images.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "disks"

struct disk {
	struct disk *next;
	struct disks *disks;
	char *name;
	struct stat st; /* of its file, as it was added */
	unsigned unit;
	unsigned pending; /* commands that QEMU has not answered */
	bool failed;
};

static void free_disk(struct disk *disk)
{
	free(disk->name);
	free(disk);
}

void disks_fini(struct disks *disks)
{
	struct disk *disk;

	while ((disk = disks->list)) {
		disks->list = disk->next;
		free_disk(disk);
	}
}

/* What tells a file from another one; 64 bits of a device number fit in JSON's integers. */
static json_t *pack_disk(const struct disk *disk)
{
	return json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "name", disk->name, "unit",
			 (int)disk->unit, "dev", (json_int_t)disk->st.st_dev, "ino",
			 (json_int_t)disk->st.st_ino, "size", (json_int_t)disk->st.st_size,
			 "mtime", (json_int_t)disk->st.st_mtim.tv_sec, "mtime_ns",
			 (json_int_t)disk->st.st_mtim.tv_nsec);
}

/* Without the file nobody takes up this QEMU, and that is said. */
static void save(const struct disks *disks)
{
	json_t *list = json_array();

	for (const struct disk *disk = disks->list; disk; disk = disk->next)
		if (!disk->failed && !disk->pending)
			json_array_append_new(list, pack_disk(disk));
	if (host_dir_put(disks->dir, FILE_NAME,
			 json_pack("{s:i, s:i, s:o}", "last_unit", (int)disks->last_unit,
				   "generation", (int)disks->generation, "list", list)) ==
	    0)
		return;
	unlinkat(disks->dir->fd, FILE_NAME, 0);
	fprintf(
	    stderr,
	    "vmctl: cannot write to %s: the emulated host will not outlive this vmctl\n",
	    disks->dir->path);
}

static void changed(struct disks *disks)
{
	disks->generation++;
	save(disks);
}

static void load_disk(struct disks *disks, const json_t *saved)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	json_int_t dev, ino, size, mtime, mtime_ns;
	const char *name;
	int unit;

	if (!disk)
		return;
	if (json_unpack((json_t *)saved, "{s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "name",
			&name, "unit", &unit, "dev", &dev, "ino", &ino, "size", &size,
			"mtime", &mtime, "mtime_ns", &mtime_ns) < 0 ||
	    !(disk->name = strdup(name))) {
		free(disk);
		return;
	}
	disk->disks = disks;
	disk->unit = (unsigned)unit;
	disk->st = (struct stat){
	    .st_dev = (dev_t)dev,
	    .st_ino = (ino_t)ino,
	    .st_size = size,
	    .st_mtim = {.tv_sec = mtime, .tv_nsec = mtime_ns},
	};
	disk->next = disks->list;
	disks->list = disk;
}

static int load(struct disks *disks)
{
	json_t *saved, *list, *disk;
	int last_unit, generation, r = host_dir_get(disks->dir, FILE_NAME, &saved);
	size_t i;

	if (saved && json_unpack(saved, "{s:i, s:i, s:o}", "last_unit", &last_unit,
				 "generation", &generation, "list", &list) == 0) {
		disks->last_unit = (unsigned)last_unit;
		disks->generation = (unsigned)generation + 1;
		json_array_foreach(list, i, disk)
		{
			load_disk(disks, disk);
		}
	}
	json_decref(saved);
	return r;
}

int disks_init(struct disks *disks, struct qmp *qmp, const struct host_dir *dir,
	       const char *images, void (*on_settled)(struct disks *disks))
{
	int r;

	*disks = (struct disks){
	    .qmp = qmp,
	    .dir = dir,
	    .images = images,
	    .generation = 1,
	    .on_settled = on_settled,
	    .last_unit = HOST_UPPER_UNIT,
	};
	r = load(disks);
	if (r == 0)
		save(disks);
	return r;
}

int disks_known(const struct host_dir *dir)
{
	json_t *saved;
	int r = host_dir_get(dir, FILE_NAME, &saved);
	bool known = saved;

	json_decref(saved);
	return r < 0 ? r : known;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	       a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void on_answer(void *ctx, const char *error)
{
	struct disk *disk = ctx;
	struct disks *disks = disk->disks;

	if (error && !disk->failed) {
		disk->failed = true;
		fprintf(stderr, "vmctl: the emulated host cannot use template %s: %s\n",
			disk->name, error);
	}
	if (--disk->pending)
		return;
	changed(disks);
	if (--disks->adding == 0)
		disks->on_settled(disks);
}

/* Send the two commands that make a file a disk. */
static int plug_in(struct disk *disk, const char *path)
{
	struct disks *disks = disk->disks;
	char node[16];
	int r;

	snprintf(node, sizeof(node), "disk%u", disk->unit);
	r = qmp_execute(disks->qmp, "blockdev-add",
			json_pack("{s:s, s:s, s:s, s:b}", "driver", "file", "node-name",
				  node, "filename", path, "read-only", true),
			on_answer, disk);
	if (r < 0)
		return r;
	disk->pending++;
	disks->adding++;
	r = qmp_execute(disks->qmp, "device_add",
			json_pack("{s:s, s:s, s:s, s:i, s:i, s:s}", "driver", "scsi-hd",
				  "id", node, "bus", HOST_SCSI ".0", "scsi-id", 0, "lun",
				  (int)disk->unit, "drive", node),
			on_answer, disk);
	if (r == 0)
		disk->pending++;
	return r;
}

static void add_disk(struct disks *disks, const char *name, const char *path,
		     const struct stat *st)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	if (!disk || !(disk->name = strdup(name))) {
		free(disk);
		return;
	}
	disk->disks = disks;
	disk->st = *st;
	disk->unit = ++disks->last_unit;
	disk->next = disks->list;
	disks->list = disk;
	disk->failed = plug_in(disk, path) < 0;
	save(disks);
}

/* The disk of a file that is still the one that was added. */
static const struct disk *find_disk(const struct disks *disks, const char *name,
				    const struct stat *st)
{
	for (const struct disk *disk = disks->list; disk; disk = disk->next)
		if (strcmp(disk->name, name) == 0 && is_same_file(&disk->st, st))
			return disk;
	return NULL;
}

static char *path_of(const struct disks *disks, const char *name)
{
	cleanup_free char *folder = images_path(disks->images, "templates", NULL);

	return folder ? images_path(folder, name, IMAGES_SUFFIX) : NULL;
}

/* Forget the disks whose file is gone, or no longer the one that was added. */
static void drop_old(struct disks *disks)
{
	struct disk **at = &disks->list, *disk;

	while ((disk = *at)) {
		cleanup_free char *path = path_of(disks, disk->name);
		struct stat st;

		if (path && stat(path, &st) == 0 && is_same_file(&disk->st, &st)) {
			at = &disk->next;
			continue;
		}
		*at = disk->next;
		free_disk(disk);
		changed(disks);
	}
}

static void add_new(struct disks *disks)
{
	json_t *names = images_templates(disks->images), *name;
	size_t i;

	json_array_foreach(names, i, name)
	{
		const char *text = json_string_value(name);
		cleanup_free char *path = path_of(disks, text);
		struct stat st;

		if (path && stat(path, &st) == 0 && !find_disk(disks, text, &st))
			add_disk(disks, text, path, &st);
	}
	json_decref(names);
}

bool disks_settle(struct disks *disks)
{
	if (disks->adding == 0) {
		drop_old(disks);
		add_new(disks);
	}
	return disks->adding == 0;
}

json_t *disks_describe(const struct disks *disks)
{
	json_t *units = json_object();

	for (const struct disk *disk = disks->list; disk; disk = disk->next)
		if (!disk->failed)
			json_object_set_new(units, disk->name, json_integer(disk->unit));
	return json_pack("{s:I, s:o}", "generation", (json_int_t)disks->generation, "units",
			 units);
}
