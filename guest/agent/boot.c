/*
 * Theory of operation
 *
 * The kernel starts us from the initramfs, whose memory is then ours to give back.
 * The root is an overlay: below, the template's image on the first disk, read-only
 * and shared with every other guest; above, this guest's own ext4 on the second.
 * We move the mounts there and change root, and stay the same process; what we
 * still need of the initramfs (the REPL's source) is copied to the new /run.
 *
 * The ext4 is made small, so that one image fits disks of all sizes; we let it grow
 * to the size of its disk. New inode tables need no zeros written to them, for the
 * disk has them there. Blocks are discarded as they become free, since the host gives
 * their room back.
 *
 * The overlay is volatile: it skips syncing its upper layer. The second disk does
 * not outlive this boot, so a sync could save nothing, and would cost a lot.
 */
#include "guest/agent/boot.h"

#include "guest/agent/log.h"
#include "guest/agent/network.h"
#include "guest/agent/reclaim.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#define PORT_NAME   "pffs.agent"
#define PORTS	    "/sys/class/virtio-ports"
#define REPL_MAX    (1u << 20)
#define WAIT_TRIES  2000 /* of 5 ms each, for a device to appear */
#define WAIT_NSECS  5000000
#define UPPER_DISK  "/dev/vdb"
#define UPPER	    "/upper"
#define RESIZE_FS   _IOW('f', 16, uint64_t) /* EXT4_IOC_RESIZE_FS of fs/ext4/ext4.h */
#define LOG_CONSOLE "/dev/hvc0"
#define NEW_ROOT    "/newroot"
#define SMALL_MOUNT (MS_NOSUID | MS_NODEV)

static struct layers layers = {-1, -1};

struct mount_entry {
	const char *source, *target, *type;
	unsigned long flags;
	const char *options;
};

static const struct mount_entry early[] = {
    {"devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755"},
    {"proc", "/proc", "proc", SMALL_MOUNT | MS_NOEXEC, NULL},
    {"sysfs", "/sys", "sysfs", SMALL_MOUNT | MS_NOEXEC, NULL},
};

static const struct mount_entry disks[] = {
    {"/dev/vda", "/lower", "erofs", MS_RDONLY, NULL},
    {UPPER_DISK, UPPER, "ext4", MS_NOATIME, "discard,noinit_itable"},
};

static const struct mount_entry root = {"overlay", NEW_ROOT, "overlay", MS_NOATIME,
					"lowerdir=/lower,upperdir=" UPPER
					"/upper,workdir=" UPPER "/work,volatile"};

static const struct mount_entry late[] = {
    {"run", "/run", "tmpfs", SMALL_MOUNT, "mode=0755"},
    {"devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
     "gid=5,mode=0620,ptmxmode=0666"},
    {"shm", "/dev/shm", "tmpfs", SMALL_MOUNT, "mode=1777"},
    {"cgroup2", "/sys/fs/cgroup", "cgroup2", SMALL_MOUNT | MS_NOEXEC, NULL},
};

static int mount_one(const struct mount_entry *m, struct error *err)
{
	mkdir(m->target, 0755);
	if (mount(m->source, m->target, m->type, m->flags, m->options) < 0)
		return error_set(err, errno, "cannot mount %s on %s", m->source, m->target);
	return 0;
}

static int mount_all(const struct mount_entry *list, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		int r = mount_one(&list[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

#define MOUNT_ALL(list, err) mount_all(list, sizeof(list) / sizeof((list)[0]), err)

static void pause_a_moment(void)
{
	nanosleep(&(struct timespec){.tv_nsec = WAIT_NSECS}, NULL);
}

/* A driver may still be probing when its module has loaded. */
static int wait_for(const char *path, struct error *err)
{
	for (int i = 0; i < WAIT_TRIES; i++) {
		if (access(path, F_OK) == 0)
			return 0;
		pause_a_moment();
	}
	return error_say(err, ENODEV, "%s does not appear", path);
}

/* From now on the log goes to the console port, which is faster than the serial
 * line. The console may be full, and must not block us. */
static void open_log(void)
{
	int fd = open(LOG_CONSOLE, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

static int grow_upper(struct error *err)
{
	cleanup_close int disk = open(UPPER_DISK, O_RDONLY | O_CLOEXEC);
	cleanup_close int fs = open(UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs st;
	uint64_t size;

	if (disk < 0 || fs < 0 || fstatfs(fs, &st) < 0 ||
	    ioctl(disk, BLKGETSIZE64, &size) < 0)
		return error_set(err, errno, "cannot look at the size of " UPPER_DISK);
	size /= (uint64_t)st.f_bsize;
	if (ioctl(fs, RESIZE_FS, &size) < 0)
		return error_set(err, errno, "cannot grow the file system on " UPPER_DISK);
	return 0;
}

static int make_root(struct error *err)
{
	int r = MOUNT_ALL(disks, err);

	if (r == 0)
		r = grow_upper(err);
	if (r < 0)
		return r;
	mkdir(UPPER "/upper", 0755);
	mkdir(UPPER "/work", 0755);
	layers.upper = open(UPPER "/upper", O_PATH | O_DIRECTORY | O_CLOEXEC);
	layers.lower = open("/lower", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return mount_one(&root, err);
}

static int switch_root(struct error *err)
{
	for (size_t i = 0; i < sizeof(early) / sizeof(early[0]); i++) {
		char target[64];

		snprintf(target, sizeof(target), NEW_ROOT "%s", early[i].target);
		if (mount(early[i].target, target, NULL, MS_MOVE, NULL) < 0)
			return error_set(err, errno, "cannot move %s", early[i].target);
	}
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 ||
	    chroot(".") < 0 || chdir("/") < 0)
		return error_set(err, errno, "cannot switch to the new root");
	return 0;
}

static void make_links(void)
{
	static const char *const links[][2] = {
	    {"/proc/self/fd", "/dev/fd"},
	    {"/proc/self/fd/0", "/dev/stdin"},
	    {"/proc/self/fd/1", "/dev/stdout"},
	    {"/proc/self/fd/2", "/dev/stderr"},
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]) < 0)
			log_say("cannot make %s: %s", links[i][1], strerror(errno));
	mkdir("/run/lock", 01777);
	chmod("/run/lock", 01777);
}

static void set_kernel(void)
{
	static const char *const settings[][2] = {
	    /* Housekeeping for which the kernel would wake an idle machine twice a second:
	     * in a fork, each thread that wakes costs the host some pages of memory. */
	    {"/proc/sys/vm/compaction_proactiveness", "0"},
	    {"/proc/sys/vm/stat_interval", "60"}, /* seconds */
	    /* The file server's watches count as root's, who should have some left. */
	    {"/proc/sys/fs/inotify/max_user_watches", "65536"},
	    {"/proc/sys/fs/inotify/max_queued_events", "65536"},
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		cleanup_close int fd = open(settings[i][0], O_WRONLY | O_CLOEXEC);

		if (fd < 0 || io_write_all(fd, settings[i][1], strlen(settings[i][1])) < 0)
			log_say("cannot set %s", settings[i][0]);
	}
}

static int write_repl(const char *source, size_t len, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	mkdir(BOOT_RUN_DIR, 0700);
	mkdir(BOOT_IDENTITY, 0755);
	fd = open(BOOT_REPL, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : io_write_all(fd, source, len);
	return r < 0 ? error_set(err, -r, "cannot write " BOOT_REPL) : 0;
}

int boot_system(struct error *err)
{
	cleanup_free char *repl = NULL;
	size_t len;
	int r = MOUNT_ALL(early, err);

	if (r < 0)
		return r;
	if (modules_load("/modules", err) < 0)
		log_say("%s", err->text); /* a kernel may have it built in */
	reclaim_init();
	nftw("/lib", remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	repl = io_read_file("/repl.py", REPL_MAX, &len, err);
	if (!repl)
		return err->code;
	r = wait_for("/dev/vda", err);
	if (r == 0)
		r = wait_for(UPPER_DISK, err);
	if (r == 0)
		open_log();
	if (r == 0)
		r = make_root(err);
	if (r == 0)
		r = switch_root(err);
	if (r == 0)
		r = MOUNT_ALL(late, err);
	if (r == 0)
		r = write_repl(repl, len, err);
	if (r < 0)
		return r;
	make_links();
	network_up();
	network_cut(); /* there is nothing yet: so that forks have what it takes */
	set_kernel();
	return 0;
}

int boot_open_root(void)
{
	int fd = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		log_say("cannot clone the root's mount: %s", strerror(errno));
	return fd;
}

struct layers boot_layers(void)
{
	return layers;
}

/* Is the port @name, such as vport2p1, the agent's? */
static bool is_agent_port(const char *name)
{
	char path[PATH_MAX];
	size_t len;
	cleanup_free char *text = NULL;

	snprintf(path, sizeof(path), PORTS "/%s/name", name);
	text = io_read_file(path, 256, &len, NULL);
	return text && strcmp(text, PORT_NAME "\n") == 0;
}

static int find_port(void)
{
	cleanup_closedir DIR *dir = opendir(PORTS);
	struct dirent *entry;
	char path[PATH_MAX];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !is_agent_port(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	return -1;
}

int boot_open_port(struct error *err)
{
	for (int i = 0; i < WAIT_TRIES; i++) {
		int fd = find_port();

		if (fd >= 0)
			return fd;
		pause_a_moment();
	}
	return error_say(err, ENODEV, "there is no virtio port named " PORT_NAME);
}
