/*
 * PID 1 of the emulated host.
 *
 * Theory of operation
 *
 * The initramfs holds vmctl, its libraries, the modules with their list, and in
 * IMAGES the kernel and the initramfs of the guests. Init mounts what a system
 * needs, loads the modules, waits for the ports and the upper disk that QEMU shows,
 * links that into IMAGES, and is then the broker, with the ports as its clients. The
 * templates follow when the outer vmctl tells of them (host_links.h). Whatever goes wrong
 * is said on the console and ends the machine; QEMU's end tells the outer vmctl.
 */
#include "util/cleanup.h"
#include "util/io.h"
#include "util/modules.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/host.h"
#include "vmctl/host_line.h"
#include "vmctl/host_links.h"
#include "vmctl/host_state.h"
#include "vmctl/spawn.h"

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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define IMAGES	      "/images"
#define STATE	      "/state"
#define MODULES	      "/modules/list"
#define PORTS	      "/sys/class/virtio-ports"
#define PORT_WAIT_MS  20000
#define PORT_PAUSE_NS 2000000

static int mount_all(struct error *err)
{
	static const struct {
		const char *type, *dir;
		unsigned long flags;
	} mounts[] = {
	    {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	    {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	    {"cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC},
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

/* The path of the port that has this name, to free(), or NULL while there is none. */
static char *find_port(const char *wanted)
{
	cleanup_closedir DIR *dir = opendir(PORTS);
	const struct dirent *entry;
	char *port = NULL;

	while (dir && !port && (entry = readdir(dir))) {
		cleanup_free char *path = NULL, *name = NULL;

		if (entry->d_name[0] == '.' ||
		    asprintf(&path, PORTS "/%s/name", entry->d_name) < 0)
			continue;
		name = read_line(path);
		if (name && strcmp(name, wanted) == 0 &&
		    asprintf(&port, "/dev/%s", entry->d_name) < 0)
			return NULL;
	}
	return port;
}

/*
 * Drivers find ports in their own time, and a port hangs up until the driver has
 * heard that it is connected.
 */
static int open_port(const char *name, struct error *err)
{
	uint64_t until = io_monotonic_ns() + PORT_WAIT_MS * 1000000ull;
	const struct timespec pause = {.tv_nsec = PORT_PAUSE_NS};
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;
	struct pollfd state;

	while (!(path = find_port(name)) && io_monotonic_ns() < until)
		nanosleep(&pause, NULL);
	if (!path)
		return error_say(err, ENODEV, "there is no port %s", name);
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

static int add_ports(struct broker *broker, struct line *line, struct error *err)
{
	int r = 0, fd;

	for (int i = 0; i < HOST_PORTS && r == 0; i++) {
		char name[32];

		snprintf(name, sizeof(name), HOST_PORT_NAME "%d", i);
		fd = open_port(name, err);
		r = fd < 0 ? fd : client_add(broker, fd, true, err);
	}
	if (r < 0)
		return r;
	fd = open_port(HOST_LINE_NAME, err);
	return fd < 0 ? fd : line_init(line, broker, fd, err);
}

/* Without it the host does all but freeze. Return: the state directory, or NULL. */
static const char *open_state(const struct links *links)
{
	cleanup_free char *device = NULL;
	struct error err;

	device = links_state(links, &err);
	if (device && host_state_mount(device, STATE, &err) == 0)
		return STATE;
	fprintf(stderr, "vmctl: %s\n", err.text);
	return NULL;
}

/* QEMU answers for the resolvers of the machine that it is on. */
static void set_resolver(void)
{
	FILE *file;

	mkdir("/etc", 0755);
	file = fopen("/etc/resolv.conf", "we");
	if (!file)
		return;
	fputs("nameserver " HOST_RESOLVER "\n", file);
	fclose(file);
}

/* Without it the guests have no way out, and all else. */
static void join_network(void)
{
	const char *argv[] = {"vmctl", "net", "--host", NULL};
	struct error err;
	pid_t pid = spawn("/proc/self/exe", argv, &(struct spawn_options){0}, &err);

	set_resolver();
	if (pid < 0)
		fprintf(stderr, "vmctl: %s\n", err.text);
	else
		waitpid(pid, NULL, 0);
}

static int host_init(bool has_state, struct error *err)
{
	struct links links = {0};
	struct broker_config config = {
	    .images = IMAGES,
	    .engine = "emulated",
	    .vm_program = "/proc/self/exe",
	    .links = &links,
	};
	struct broker broker;
	struct line line;
	int r = mount_all(err);

	open_console();
	if (r == 0)
		r = modules_load(MODULES, err);
	if (r == 0)
		r = links_init(&links, IMAGES, "", err);
	if (r == 0)
		r = access("/dev/kvm", R_OK | W_OK) < 0
			? error_set(err, errno, "cannot use /dev/kvm")
			: 0;
	if (r == 0)
		join_network();
	if (r == 0 && has_state)
		config.state = open_state(&links);
	if (r == 0)
		r = broker_init(&broker, &config, err);
	if (r == 0)
		r = add_ports(&broker, &line, err);
	if (r == 0)
		r = broker_run(&broker, err);
	links_fini(&links);
	return r;
}

int host_init_main(int argc, char **argv)
{
	bool has_state = argc > 1 && strcmp(argv[argc - 1], HOST_STATE_WORD) == 0;
	struct error err;

	if (getpid() != 1) {
		fputs("vmctl: host is for PID 1 of the emulated host alone\n", stderr);
		return 2;
	}
	umask(022);
	setenv("PATH", "/bin:/sbin", 1);
	if (host_init(has_state, &err) < 0)
		fprintf(stderr, "vmctl: %s\n", err.text);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
