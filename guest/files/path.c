#include "guest/files/call.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

int walk_from(int dir, const char *path, int flags)
{
	struct open_how how = {
	    .flags = (unsigned int)flags | O_NOFOLLOW | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	long fd = syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int walk(const struct server *server, const char *path, int flags)
{
	return walk_from(server->root, path, flags);
}

int walk_parent(const struct server *server, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *parent = NULL;

	*name = slash ? slash + 1 : path;
	if (!*path)
		return -EBUSY;
	parent = slash ? strndup(path, (size_t)(slash - path)) : strdup("");
	return parent ? walk(server, parent, O_PATH | O_DIRECTORY) : -ENOMEM;
}

struct fd_name fd_name(int fd)
{
	struct fd_name name;

	snprintf(name.text, sizeof(name.text), "%d", fd);
	return name;
}
