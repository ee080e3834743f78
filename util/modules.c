#include "util/modules.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>

#define LIST_MAX (64u << 10)

/* finit_module(2); glibc has no wrapper for it. */
int modules_load_fd(int fd, const char *name, struct error *err)
{
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot load the kernel module %s", name);
	return 0;
}

static int load_one(const char *path, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_set(err, errno, "cannot open the kernel module %s", path);
	return modules_load_fd(fd, path, err);
}

static int load_line(const char *list, const char *line, struct error *err)
{
	const char *slash = strrchr(list, '/');
	int folder = slash ? (int)(slash - list) + 1 : 0;
	char path[PATH_MAX];

	if (line[0] == '/')
		return load_one(line, err);
	if ((size_t)folder + strlen(line) >= sizeof(path))
		return error_say(err, ENAMETOOLONG, "a name in %s is too long", list);
	snprintf(path, sizeof(path), "%.*s%s", folder, list, line);
	return load_one(path, err);
}

int modules_load(const char *list, struct error *err)
{
	struct error one;
	size_t len;
	cleanup_free char *text = io_read_file(list, LIST_MAX, &len, err);
	char *rest = text, *line;
	int first = 0;

	if (!text)
		return err ? err->code : -EIO;
	while ((line = strsep(&rest, "\n"))) {
		int r;

		if (line[0] == '\0' || line[0] == '#')
			continue;
		r = load_line(list, line, &one);
		if (r < 0 && first == 0) {
			first = r;
			if (err)
				*err = one;
		}
	}
	return first;
}
