#include "pffs/cli/confine.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/landlock.h as of Linux 6.12, which Debian 12 has as of 6.1. */
#define FS_TRUNCATE	    (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV	    (1ull << 15) /* ABI 5 */
#define NET_BIND_TCP	    (1ull << 0)	 /* ABI 4 */
#define NET_CONNECT_TCP	    (1ull << 1)
#define SCOPE_ABSTRACT_UNIX (1ull << 0) /* ABI 6 */
#define SCOPE_SIGNAL	    (1ull << 1)

struct ruleset {
	uint64_t fs, net, scoped;
};

#define FS_ABI_1 ((1ull << 13) - 1)
#define READ	 (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE                                                                              \
	(READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |           \
	 LANDLOCK_ACCESS_FS_MAKE_REG | FS_TRUNCATE)
#define OF_FILES                                                                           \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)

/* Of the system, and for everybody to read. */
static const char *const system_paths[] = {"/usr", "/etc/localtime", "/etc/ld.so.cache",
					   "/proc/self"};

unsigned confine_version(void)
{
	long version =
	    syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version > 0 ? (unsigned)version : 0;
}

/* All that this kernel knows of. */
static struct ruleset handled(unsigned version)
{
	struct ruleset set = {.fs = FS_ABI_1};

	if (version >= 2)
		set.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		set.fs |= FS_TRUNCATE;
	if (version >= 4)
		set.net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (version >= 5)
		set.fs |= FS_IOCTL_DEV;
	if (version >= 6)
		set.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
	return set;
}

/* An older kernel knows the beginning of the structure. */
static size_t size_of(unsigned version)
{
	if (version < 4)
		return offsetof(struct ruleset, net);
	return version < 6 ? offsetof(struct ruleset, scoped) : sizeof(struct ruleset);
}

static int allow(int ruleset, int fd, uint64_t access)
{
	const struct landlock_path_beneath_attr rule = {.allowed_access = access,
							.parent_fd = fd};

	if (fd < 0)
		return 0;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule,
		       0) < 0
		   ? -errno
		   : 0;
}

/* One that is not there is not needed. */
static int allow_system(int ruleset)
{
	int r = 0;

	for (size_t i = 0; i < sizeof(system_paths) / sizeof(system_paths[0]) && r == 0;
	     i++) {
		cleanup_close int dir =
		    open(system_paths[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		cleanup_close int file =
		    dir >= 0 ? -1 : open(system_paths[i], O_PATH | O_CLOEXEC);

		r = dir >= 0 ? allow(ruleset, dir, READ)
			     : allow(ruleset, file, LANDLOCK_ACCESS_FS_READ_FILE);
	}
	return r;
}

int confine(int writable, int readable, struct error *err)
{
	const unsigned version = confine_version();
	const struct ruleset set = handled(version);
	cleanup_close int ruleset = -1, null = -1;
	int r = 0;

	if (!version)
		return 0;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &set, size_of(version), 0);
	null = open("/dev/null", O_PATH | O_CLOEXEC);
	if (ruleset < 0)
		return error_set(err, errno, "cannot use Landlock");
	r = allow(ruleset, writable, WRITE & set.fs);
	if (r == 0)
		r = allow(ruleset, readable, READ);
	if (r == 0)
		r = allow(ruleset, null, OF_FILES & set.fs);
	if (r == 0)
		r = allow_system(ruleset);
	if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		r = -errno;
	return r < 0 ? error_set(err, -r, "cannot use Landlock") : (int)version;
}
