/*
 * Theory of operation: this process makes the mount, hands its descriptor to the pffs that
 * has the sandbox (control.h). What stays of it waits: for the end of that pffs, when it
 * takes the mount away, which answers nothing any more, or for the end of the mount. In the
 * meantime it makes the sockets of ports there (porter.h).
 */
#include "pffs/cli/only.h"

#include "pffs/cli/control.h"
#include "pffs/cli/mounts.h"
#include "pffs/cli/porter.h"
#include "pffs/core/sandbox.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define VALUES_MAX	65536 /* bytes of a file of KEY VALUE lines */
#define SENTENCE_MAX	512
#define ANSWER_LIMIT_MS 10000

/* The value of a KEY VALUE line in a file of a directory, to free(); NULL with @err. */
static char *value_of(const char *dir, const char *file, const char *key, struct error *err)
{
	cleanup_free char *path = NULL, *text = NULL;
	size_t len, key_len = strlen(key);
	char *line, *rest;

	if (asprintf(&path, "%s/%s", dir, file) < 0) {
		path = NULL;
		error_set(err, ENOMEM, "cannot read %s", file);
		return NULL;
	}
	rest = text = io_read_file(path, VALUES_MAX, &len, err);
	while (rest && (line = strsep(&rest, "\n")))
		if (strncmp(line, key, key_len) == 0 && line[key_len] == ' ')
			return strdup(line + key_len + 1);
	if (text)
		error_say(err, EINVAL, "%s says nothing of %s", path, key);
	return NULL;
}

static int hand_over(int control, int fd, const char *id, struct error *err)
{
	struct pollfd answer = {.fd = control, .events = POLLIN};
	char sentence[SENTENCE_MAX + 1];
	ssize_t n;

	if (io_send_fd(control, id, strlen(id), fd, 0) < 0 ||
	    poll(&answer, 1, ANSWER_LIMIT_MS) != 1 ||
	    (n = recv(control, sentence, SENTENCE_MAX, 0)) <= 0)
		return error_say(err, EIO, "the pffs of this mount does not answer");
	sentence[n] = '\0';
	return sentence[0] == '+' ? 0 : error_say(err, EACCES, "%s", sentence + 1);
}

/* The signals that end this process end the mount. Return: a signalfd, or -1. */
static int hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void wait_for_end(int control, const char *dir)
{
	cleanup_close int signals = hold_signals();
	bool told = porter_run(control, signals, dir);
	struct stat st;

	/* Somebody else's mount may be there by now. */
	if (told || (stat(dir, &st) < 0 && mounts_dead(errno)))
		mounts_unmount(dir, MNT_DETACH);
}

static int to_background(void)
{
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = fork();

	if (pid != 0)
		return pid < 0 ? -errno : 1;
	setsid();
	if (chdir("/") < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    dup2(null, 2) < 0)
		_exit(1);
	return 0;
}

/* Return: 1 in the process that the user started, when another one stays. */
static int stay(const struct only_options *options, int control)
{
	int r = options->foreground ? 0 : to_background();

	if (r != 0)
		return r;
	wait_for_end(control, options->dir);
	if (!options->foreground)
		_exit(0);
	return 0;
}

int only_mount(const struct only_options *options, struct error *err)
{
	cleanup_free char *path = NULL, *mount = NULL, *name = NULL, *id = NULL;
	cleanup_close int control = -1, fd = -1;
	int r = mounts_resolve(options->sandbox, &path, &mount, err);

	if (r < 0)
		return r;
	id = value_of(path, "status", "id", err);
	name = id ? value_of(mount, "host", "control", err) : NULL;
	if (!name)
		return err->code;
	control = control_connect(name, err);
	if (control < 0)
		return control;
	fd = mounts_make(options->dir, "pffs-only", options->allow_other, err);
	if (fd < 0)
		return fd;
	r = hand_over(control, fd, id, err);
	close(steal_fd(&fd));
	if (r < 0) {
		mounts_unmount(options->dir, MNT_DETACH);
		return r;
	}
	fprintf(stderr, "pffs: %s is mounted at %s\n", path, options->dir);
	r = stay(options, control);
	return r < 0 ? error_set(err, -r, "cannot go to the background") : 0;
}
