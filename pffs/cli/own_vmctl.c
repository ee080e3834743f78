#include "pffs/cli/own_vmctl.h"

#include "pffs/cli/paths.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define END_LIMIT_MS 15000 /* until one that was told to end is killed */
#define PID_FILE_MAX 64

static _Noreturn void become_vmctl(const struct own_vmctl_options *o, const char *program)
{
	const char *argv[] = {program,
			      "serve",
			      "--socket",
			      o->socket,
			      "--images",
			      o->images,
			      "--engine",
			      o->engine,
			      "--uplink",
			      o->uplink,
			      o->machines ? "--state" : NULL,
			      o->machines,
			      NULL};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(program, (char *const *)(uintptr_t)argv);
	dprintf(STDERR_FILENO, "pffs: cannot run %s: %s\n", program, strerror(errno));
	_exit(127);
}

static void forget(struct own_vmctl *vmctl)
{
	if (vmctl->pid)
		close(vmctl->handle);
	vmctl->pid = 0;
}

static bool runs(const struct own_vmctl *vmctl)
{
	struct pollfd pfd = {.fd = vmctl->handle, .events = POLLIN};

	return vmctl->pid && poll(&pfd, 1, 0) == 0;
}

/* The system call itself: the library's fork() makes children of its caller only. */
pid_t own_vmctl_start(struct own_vmctl *vmctl, struct error *err)
{
	cleanup_free char *program = paths_vmctl(err);
	int handle = -1;
	pid_t pid;

	if (!program)
		return err->code;
	if (runs(vmctl))
		return error_say(err, EBUSY, "vmctl runs already");
	pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD | SIGCHLD, NULL, &handle,
			     NULL, 0);
	if (pid == 0)
		become_vmctl(vmctl->options, program);
	if (pid < 0)
		return error_set(err, errno, "cannot start vmctl");
	forget(vmctl);
	vmctl->pid = pid;
	vmctl->handle = handle;
	return pid;
}

pid_t own_vmctl_adopt(struct own_vmctl *vmctl, pid_t peer)
{
	const char *path = vmctl->options->pid_file;
	size_t size;
	cleanup_free char *noted =
	    path ? io_read_file(path, PID_FILE_MAX, &size, NULL) : NULL;
	int handle;

	if (!noted || peer <= 0 || strtol(noted, NULL, 10) != peer)
		return 0;
	handle = (int)syscall(SYS_pidfd_open, peer, 0);
	if (handle < 0)
		return 0;
	forget(vmctl);
	vmctl->pid = peer;
	vmctl->handle = handle;
	vmctl->noted = true;
	return peer;
}

void own_vmctl_note(struct own_vmctl *vmctl)
{
	const char *path = vmctl->options->pid_file;
	cleanup_fclose FILE *file = path && vmctl->pid ? fopen(path, "we") : NULL;

	if (!file)
		return;
	fprintf(file, "%d\n", vmctl->pid);
	vmctl->noted = true;
}

static bool ends_by(const struct own_vmctl *vmctl, int signal, int limit_ms)
{
	struct pollfd pfd = {.fd = vmctl->handle, .events = POLLIN};

	syscall(SYS_pidfd_send_signal, vmctl->handle, signal, NULL, 0);
	return poll(&pfd, 1, limit_ms) != 0;
}

void own_vmctl_end(struct own_vmctl *vmctl)
{
	if (!vmctl->pid)
		return;
	if (!ends_by(vmctl, SIGTERM, END_LIMIT_MS))
		ends_by(vmctl, SIGKILL, END_LIMIT_MS);
	if (vmctl->noted)
		unlink(vmctl->options->pid_file);
	vmctl->noted = false;
	forget(vmctl);
}
