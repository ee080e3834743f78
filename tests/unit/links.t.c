/* The links to the disks of the emulated host, over a folder in the place of `/`. */
#include "vmctl/host_links.h"

#include "tests/unit/tap.h"
#include "util/io.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 300
#define MANY	20 /* times that: what is not slowness any more */

static char root[] = "/tmp/pffs-links.XXXXXX";
static struct links links;
static json_int_t generation;

/* Make a folder below the root, and those on the way. */
static bool make_folder(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(path, 0755);
		*at = '/';
	}
	return mkdir(path, 0755) == 0;
}

static bool make_file(const char *folder, const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s/%s", root, folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	return fd >= 0 && close(fd) == 0;
}

/* What sysfs shows of a disk: its unit and its block device. */
static bool show_unit(int unit, const char *device)
{
	char name[128];

	snprintf(name, sizeof(name), "sys/bus/scsi/devices/0:0:0:%d/block/%s", unit,
		 device);
	return make_folder(name);
}

static void add_unit(int unit, const char *device)
{
	ok(show_unit(unit, device) && make_file("dev", device), "disk %d is there", unit);
}

/* Take @units, which is JSON. Return: how many milliseconds that took. */
static unsigned take_as(json_int_t number, const char *units)
{
	json_t *disks = json_pack("{s:I, s:o}", "generation", number, "units",
				  json_loads(units, 0, NULL));
	uint64_t from = io_monotonic_ns();

	links_take(&links, disks);
	json_decref(disks);
	return (unsigned)((io_monotonic_ns() - from) / 1000000u);
}

static unsigned take(const char *units)
{
	return take_as(++generation, units);
}

/* The disk that a template is, or "none". */
static const char *disk_of(const char *template)
{
	static char disk[64];
	char path[128];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/images/templates/%s.erofs", root, template);
	n = readlink(path, disk, sizeof(disk) - 1);
	if (n < 0)
		return "none";
	disk[n] = '\0';
	return strncmp(disk, root, strlen(root)) == 0 ? disk + strlen(root) : disk;
}

static bool is_open(const char *template)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/images/templates/%s.erofs", root, template);
	return access(path, R_OK) == 0;
}

static void set_up(void)
{
	struct error err;
	char *images;

	ok(mkdtemp(root) && make_folder("images") && make_folder("dev") &&
	       make_folder("sys/class/scsi_host/host0") &&
	       make_file("sys/class/scsi_host/host0", "scan"),
	   "folders");
	add_unit(0, "sda");
	if (asprintf(&images, "%s/images", root) < 0)
		exit(1);
	is_int(links_init(&links, images, root, &err), 0, "the upper disk is linked");
	links.wait_ms = WAIT_MS;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void tear_down(void)
{
	links_fini(&links);
	free((char *)links.images);
	is_int(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0, "the folders go");
}

static void templates_come_and_go(void)
{
	add_unit(1, "sdb");
	add_unit(2, "sdc");
	take("{\"one\": 1, \"two\": 2}");
	is_str(disk_of("one"), "/dev/sdb", "a template is its disk");
	is_str(disk_of("two"), "/dev/sdc", "and another one");
	add_unit(3, "sdd");
	take("{\"one\": 3}");
	is_str(disk_of("one"), "/dev/sdd", "a replaced one is the new disk");
	is_str(disk_of("two"), "none", "one that is not told of goes");
}

static void what_is_old_is_ignored(void)
{
	take_as(generation, "{}");
	is_str(disk_of("one"), "/dev/sdd", "what was told already changes nothing");
	take_as(generation - 1, "{\"one\": 1}");
	is_str(disk_of("one"), "/dev/sdd", "nor what is older");
}

static void missing_disks_are_waited_for_once(void)
{
	unsigned first, second;

	first = take("{\"one\": 3, \"no\": 40, \"nor\": 41, \"nope\": 42, \"never\": 43}");
	ok(first >= WAIT_MS, "missing disks are waited for (%u ms)", first);
	is_str(disk_of("one"), "/dev/sdd", "the others stay");
	add_unit(4, "sde");
	links.wait_ms = MANY * WAIT_MS;
	second = take("{\"one\": 3, \"no\": 40, \"nor\": 41, \"nope\": 42, \"never\": 43, "
		      "\"new\": 4}");
	links.wait_ms = WAIT_MS;
	ok(second < MANY * WAIT_MS, "once (%u ms)", second);
	is_str(disk_of("new"), "/dev/sde", "and what is new is linked");
	is_str(disk_of("no"), "none", "what is missing is no template");
	add_unit(40, "sdf");
	take("{\"no\": 40}");
	is_str(disk_of("no"), "/dev/sdf", "until it is found to be there");
}

/* As between the kernel's device_add() and devtmpfs. */
static void a_disk_is_there_when_it_can_be_opened(void)
{
	pid_t later;
	int status;

	ok(show_unit(60, "sdg"), "sysfs shows a disk");
	links.wait_ms = MANY * WAIT_MS;
	later = fork();
	if (later == 0) {
		usleep(WAIT_MS / 3 * 1000);
		_exit(make_file("dev", "sdg") ? 0 : 1);
	}
	take("{\"late\": 60}");
	links.wait_ms = WAIT_MS;
	is_str(disk_of("late"), "/dev/sdg", "it is linked");
	ok(is_open("late"), "when it can be opened");
	ok(waitpid(later, &status, 0) == later && status == 0, "which is later");
	ok(show_unit(61, "sdh"), "sysfs shows another one");
	take("{\"late\": 61}");
	is_str(disk_of("late"), "none", "that never can be: it is no template");
}

static void a_replacement_that_is_missing_replaces(void)
{
	take("{\"no\": 50}");
	is_str(disk_of("no"), "none", "an old disk does not stand for a new one");
}

/* So many that a deadline for each would be seen. */
static void all_disks_share_a_deadline(void)
{
	json_t *units = json_object();
	char name[16], *text;
	unsigned ms;

	for (int i = 0; i < 2 * MANY; i++) {
		snprintf(name, sizeof(name), "many%d", i);
		json_object_set_new(units, name, json_integer(100 + i));
	}
	text = json_dumps(units, 0);
	ms = take(text);
	ok(ms < MANY * WAIT_MS, "many that are missing share one wait (%u ms)", ms);
	free(text);
	json_decref(units);
}

static void nonsense_is_left_out(void)
{
	take("{\"one\": 3, \"../up\": 1, \"upper\": 0, \"minus\": -1, \"text\": \"1\"}");
	is_str(disk_of("one"), "/dev/sdd", "what is right is linked");
	is_str(disk_of("../up"), "none", "a path is no name");
	is_str(disk_of("upper"), "none", "the upper disk is no template");
	is_str(disk_of("text"), "none", "nor is what is no number");
	take("[]");
	is_str(disk_of("one"), "none", "no disks: no templates");
}

int main(void)
{
	set_up();
	templates_come_and_go();
	what_is_old_is_ignored();
	missing_disks_are_waited_for_once();
	a_disk_is_there_when_it_can_be_opened();
	a_replacement_that_is_missing_replaces();
	all_disks_share_a_deadline();
	nonsense_is_left_out();
	tear_down();
	return done_testing();
}
