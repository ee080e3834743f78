/*
 * pffs stop: the end of a pffs that nothing is mounted of.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "util/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

#define END_LIMIT_MS 30000

static const char help[] =
    "usage: pffs stop [--api PATH]\n"
    "\n"
    "Ends `pffs serve` and its sandboxes but those that are frozen. (`pffs umount DIR` "
    "ends "
    "a\n"
    "`pffs mount`.)\n"
    "\n"
    "  --json        what GET /v1/host answered\n"
    "  --api PATH    socket of the pffs to end (PFFS_API; else the only one)\n";

static int end_process(pid_t pid, struct error *err)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	if (fd < 0 || syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) < 0)
		return error_set(err, errno, "cannot end process %d", pid);
	if (poll(&pfd, 1, END_LIMIT_MS) == 0)
		return error_say(err, ETIMEDOUT, "process %d has not ended yet", pid);
	return 0;
}

static int stop(const json_t *host, struct error *err)
{
	const char *mount = json_string_value(json_object_get(host, "mount"));
	pid_t pid = (pid_t)json_integer_value(json_object_get(host, "pid"));

	if (mount)
		return error_say(err, EBUSY, "it is mounted: pffs umount %s", mount);
	if (pid <= 1)
		return error_say(err, EPROTO, "pffs did not say which process it is");
	return end_process(pid, err);
}

int cmd_stop(int argc, char **argv)
{
	struct command c = {.help = help};
	struct error err;
	json_t *host = NULL;

	if (!command_begin(&c, argc, argv))
		return c.status;
	if (command_ask(&c, "GET", NULL, &host, "/v1/host") == 0) {
		if (stop(host, &err) < 0)
			command_fail(&c, &err);
		else if (c.json)
			command_print_json(&c, host);
	}
	json_decref(host);
	command_end(&c);
	return c.status;
}
