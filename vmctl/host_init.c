/*
 * PID 1 of the emulated host.
 *
 * Theory of operation
 *
 * The initramfs holds vmctl, its libraries, the modules with their list, and in
 * IMAGES the kernel and the initramfs of the guests. Init mounts what a system
 * needs, loads the modules, waits for the ports and disks that QEMU shows,
 * completes IMAGES by links to the disks, and is then the broker, with the ports
 * as its clients. Whatever goes wrong is said on the console and ends the
 * machine; QEMU's end tells the outer vmctl.
 */
#include "util/cleanup.h"
#include "util/io.h"
#include "util/modules.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/host.h"
#include "vmctl/images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IMAGES		"/images"
#define MODULES		"/modules/list"
#define DEVICE_WAIT_MS	20000
#define DEVICE_PAUSE_NS 2000000

static int mount_all(struct error *err)
{
	static const struct {
		const char *type, *dir;
		unsigned long flags;
	} mounts[] = {
	    {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	    {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	    {"devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC},
	    {"tmpfs", "/run", MS_NOSUID | MS_NODEV},
	    {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV},
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].dir, 0755);
		if (mount(mounts[i].type, mounts[i].dir, mounts[i].type, mounts[i].flags,
			  "") < 0 &&
		    errno != EBUSY)
			return error_set(err, errno, "cannot mount %s", mounts[i].dir);
	}
	mkdir("/var", 0755);
	if (symlink("/tmp", "/var/tmp") < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make /var/tmp");
	return 0;
}

static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR);

	for (int i = 0; i < 3 && fd >= 0; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

/* The first line of a small file, as a string to free(), or NULL. */
static char *read_line(const char *path)
{
	size_t len;
	char *text = io_read_file(path, 4096, &len, NULL);

	if (text)
		text[strcspn(text, "\n")] = '\0';
	return text;
}

/*
 * Look in folder @class for the device whose @attribute says @value.
 * Return: its name, to free(), or NULL while it is not there.
 */
static char *find_device(const char *class, const char *attribute, const char *value)
{
	cleanup_closedir DIR *dir = opendir(class);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		cleanup_free char *path = NULL, *line = NULL;

		if (asprintf(&path, "%s/%s/%s", class, entry->d_name, attribute) < 0)
			return NULL;
		line = entry->d_name[0] == '.' ? NULL : read_line(path);
		if (line && strcmp(line, value) == 0)
			return strdup(entry->d_name);
	}
	return NULL;
}

/* Wait for a device: drivers find them in their own time. Return: /dev/NAME. */
static char *wait_device(const char *class, const char *attribute, const char *value,
			 struct error *err)
{
	uint64_t until = io_monotonic_ns() + DEVICE_WAIT_MS * 1000000ull;
	const struct timespec pause = {.tv_nsec = DEVICE_PAUSE_NS};
	char *path = NULL;

	while (!path && io_monotonic_ns() < until) {
		cleanup_free char *name = find_device(class, attribute, value);

		if (!name)
			nanosleep(&pause, NULL);
		else if (asprintf(&path, "/dev/%s", name) < 0)
			break;
	}
	if (!path)
		error_say(err, ENODEV, "there is no device with %s %s in %s", attribute,
			  value, class);
	return path;
}

static int link_disk(const char *serial, const char *path, struct error *err)
{
	cleanup_free char *disk = wait_device("/sys/block", "serial", serial, err);

	if (!disk)
		return err->code;
	if (symlink(disk, path) < 0)
		return error_set(err, errno, "cannot make %s", path);
	return 0;
}

/* The value of HOST_TEMPLATES on the kernel's command line, to free(). */
static char *template_names(void)
{
	cleanup_free char *cmdline = read_line("/proc/cmdline");
	const char *at = cmdline ? strstr(cmdline, HOST_TEMPLATES) : NULL;

	if (!at)
		return strdup("");
	at += strlen(HOST_TEMPLATES);
	return strndup(at, strcspn(at, " "));
}

static int link_images(struct error *err)
{
	cleanup_free char *names = template_names();
	char *rest = names, *name;
	int r = link_disk(HOST_UPPER, IMAGES "/upper.ext4", err);

	mkdir(IMAGES "/templates", 0755);
	for (int i = 0; r == 0 && rest && (name = strsep(&rest, ",")) && *name; i++) {
		cleanup_free char *path =
		    images_path(IMAGES "/templates", name, IMAGES_SUFFIX);
		char serial[20];

		snprintf(serial, sizeof(serial), "t%d", i);
		r = path ? link_disk(serial, path, err)
			 : error_set(err, ENOMEM, "cannot link templates");
	}
	return r;
}

/* A port hangs up until the driver has heard that it is connected. */
static int open_port(int number, struct error *err)
{
	uint64_t until = io_monotonic_ns() + DEVICE_WAIT_MS * 1000000ull;
	const struct timespec pause = {.tv_nsec = DEVICE_PAUSE_NS};
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;
	struct pollfd state;
	char name[32];

	snprintf(name, sizeof(name), HOST_PORT_NAME "%d", number);
	path = wait_device("/sys/class/virtio-ports", "name", name, err);
	if (!path)
		return err->code;
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "cannot open %s", path);
	state = (struct pollfd){.fd = fd, .events = POLLOUT};
	while (poll(&state, 1, 0) < 0 || state.revents & POLLHUP) {
		if (io_monotonic_ns() > until)
			return error_say(err, ENOTCONN, "%s is not connected", path);
		nanosleep(&pause, NULL);
	}
	return steal_fd(&fd);
}

static int add_ports(struct broker *broker, struct error *err)
{
	int r = 0;

	for (int i = 0; i < HOST_PORTS && r == 0; i++) {
		int fd = open_port(i, err);

		r = fd < 0 ? fd : client_add(broker, fd, true, err);
	}
	return r;
}

static int host_init(struct error *err)
{
	static const struct broker_config config = {
	    .images = IMAGES,
	    .engine = "emulated",
	    .vm_program = "/proc/self/exe",
	};
	struct broker broker;
	int r = mount_all(err);

	open_console();
	if (r == 0)
		r = modules_load(MODULES, err);
	if (r == 0)
		r = link_images(err);
	if (r == 0)
		r = access("/dev/kvm", R_OK | W_OK) < 0
			? error_set(err, errno, "cannot use /dev/kvm")
			: 0;
	if (r == 0)
		r = broker_init(&broker, &config, err);
	if (r == 0)
		r = add_ports(&broker, err);
	if (r == 0)
		r = broker_run(&broker, err);
	return r;
}

int host_init_main(int argc, char **argv)
{
	struct error err;

	(void)argc;
	(void)argv;
	if (getpid() != 1) {
		fputs("vmctl: host is for PID 1 of the emulated host alone\n", stderr);
		return 2;
	}
	umask(022);
	setenv("PATH", "/bin:/sbin", 1);
	if (host_init(&err) < 0)
		fprintf(stderr, "vmctl: %s\n", err.text);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
