#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/mounts.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define END_LIMIT_MS 30000

static const char help[] =
    "usage: pffs umount DIR\n"
    "\n"
    "Ends the `pffs mount` at DIR, and its sandboxes but those that are frozen. Where one\n"
    "sandbox is mounted alone, it goes on.\n"
    "\n"
    "Exit status: 0, 1 when it is still mounted or still ends, 2 for bad usage.\n";

/* The daemon behind a mount, by its `host` file; 0 when it does not answer. */
static pid_t daemon_of(const char *dir)
{
	cleanup_free char *path = NULL, *text = NULL;
	const char *line;
	size_t len;

	if (asprintf(&path, "%s/host", dir) < 0) {
		path = NULL;
		return 0;
	}
	text = io_read_file(path, 65536, &len, NULL);
	line = text ? strstr(text, "\npid ") : NULL;
	return line ? (pid_t)strtol(line + 5, NULL, 10) : 0;
}

static int explain(const char *dir, int code)
{
	if (code == -EBUSY)
		fprintf(stderr,
			"pffs: %s is in use: leave it in every shell and close its files\n",
			dir);
	else if (code == -EINVAL || code == -ENOENT)
		fprintf(stderr, "pffs: nothing is mounted at %s\n", dir);
	else
		fprintf(stderr, "pffs: cannot unmount %s: %s\n", dir, strerror(-code));
	return 1;
}

int cmd_umount(int argc, char **argv)
{
	const char *dir = argc == 2 ? argv[1] : NULL;
	struct pollfd pfd = {.fd = -1, .events = POLLIN};
	bool late;
	pid_t pid;
	int r;

	if (!dir)
		return usage_error(argv[0], "%s",
				   argc < 2 ? "it is not said what to unmount"
					    : "it is one DIR at a time");
	if (strcmp(dir, "--help") == 0 || strcmp(dir, "-h") == 0) {
		fputs(help, stdout);
		return 0;
	}
	if (dir[0] == '-')
		return usage_error(argv[0], "there is no option %s", dir);
	pid = daemon_of(dir);
	if (pid > 0)
		pfd.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = mounts_unmount(dir, 0);
	late = r == 0 && pfd.fd >= 0 && poll(&pfd, 1, END_LIMIT_MS) == 0;
	if (pfd.fd >= 0)
		close(pfd.fd);
	if (r < 0)
		return explain(dir, r);
	if (late)
		fprintf(stderr, "pffs: unmounted, but process %d has not ended yet\n", pid);
	return late;
}
