#include "vmctl/net/tun.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST_TUN "/dev/net/tun"
#define OWN_TUN	 "tun"

/* The root of that file system. It goes with its last descriptor. */
static int directory = -1;

int tun_share(struct error *err)
{
	cleanup_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), root = -1;
	struct stat st;

	if (stat(HOST_TUN, &st) < 0)
		return error_set(err, errno, "cannot look at " HOST_TUN);
	if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (root < 0 || mknodat(root, OWN_TUN, S_IFCHR, st.st_rdev) < 0 ||
	    fchmodat(root, OWN_TUN, 0666, 0) < 0)
		return error_set(err, errno, "cannot make a node like " HOST_TUN);
	directory = steal_fd(&root);
	return 0;
}

int tun_open(struct error *err)
{
	const char *name = directory < 0 ? HOST_TUN : OWN_TUN;
	int fd = openat(directory < 0 ? AT_FDCWD : directory, name,
			O_RDWR | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? error_set(err, errno, "cannot open " HOST_TUN) : fd;
}
