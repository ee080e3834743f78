/*
 * Theory of operation
 *
 * The daemon first connects to vmctl's socket; when nobody listens there it
 * starts a vmctl of its own and tries again until that answers. When vmctl has
 * answered, the directory is mounted. A link that breaks later leaves the mount up. A vmctl
 * of its own is started anew; for another one there are PATIENCE_MS before it starts its
 * own. Sandboxes whose machines outlived vmctl go on (attach.h); if none has answered after
 * GIVE_UP_MS they are dead.
 *
 * It ends when the directory is unmounted or on SIGTERM or SIGINT: the sandboxes
 * go first, which answers whoever waits for them, then the mount, then a vmctl of
 * its own. When it is killed instead, that vmctl and the machines go on: the next daemon
 * with the same state directory finds there whose vmctl it was, and makes it its own.
 */
#include "pffs/cli/daemon.h"

#include "pffs/cli/control.h"
#include "pffs/cli/paths.h"
#include "pffs/core/attach.h"
#include "pffs/core/sandbox.h"
#include "pffs/core/stream.h"
#include "pffs/fs/fs.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RETRY_MS       100u
#define PATIENCE_MS    10000u  /* until another vmctl than one of our own has to be there */
#define GIVE_UP_MS     30000u  /* until machines that were lost with vmctl are given up */
#define START_LIMIT_MS 120000u /* until vmctl must have answered */
#define READY_LIMIT_MS 300000u /* until a guest must have answered */
#define VMCTL_END_MS   15000   /* until a vmctl that was told to end is killed */

struct daemon {
	const struct daemon_options *options;
	struct loop loop;
	struct core core;
	struct fs *fs;
	struct control control; /* and the mounts of single sandboxes */
	struct loop_source signals;
	struct loop_timer relink, start_limit, lost_limit;
	uint64_t patient_ns; /* until then who runs a vmctl has time to start it again */
	pid_t vmctl;	     /* our own; 0 while there is none */
	bool own;	     /* there was one */
	bool adopted;	     /* it was that of a daemon that was killed */
	bool noted;	     /* the state directory says that it is ours */
	bool up;	     /* mounted */
	void (*ready)(void *ctx, const char *sentence);
	void *ctx;
	char *sandboxes, *machines; /* folders of the state directory, or NULL */
	char *vmctl_pid;	    /* file in there: of a vmctl of its own; or NULL */
	struct error err;	    /* why it ends, if not in order */
};

static void give_up(struct daemon *d, const struct error *err)
{
	d->err = *err;
	loop_stop(&d->loop);
}

/* The state directory says whose vmctl it is, to the one daemon that has its lock. */
static bool has_state(const struct daemon *d)
{
	return d->vmctl_pid && d->core.state_fd >= 0;
}

static void note_vmctl(struct daemon *d)
{
	cleanup_fclose FILE *file = has_state(d) ? fopen(d->vmctl_pid, "we") : NULL;

	if (!file)
		return;
	fprintf(file, "%d\n", d->vmctl);
	d->noted = true;
}

/* Is it the vmctl of a daemon that was killed who answers at @fd? */
static void adopt_vmctl(struct daemon *d, int fd)
{
	size_t size;
	cleanup_free char *noted =
	    has_state(d) ? io_read_file(d->vmctl_pid, 64, &size, NULL) : NULL;
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (d->vmctl || !noted ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    strtol(noted, NULL, 10) != peer.pid)
		return;
	d->vmctl = peer.pid;
	d->own = d->adopted = d->noted = true;
}

static void start_vmctl(struct daemon *d)
{
	struct error err;
	cleanup_free char *vmctl = paths_vmctl(&err);
	const char *argv[] = {vmctl,
			      "serve",
			      "--socket",
			      d->options->socket,
			      "--images",
			      d->options->images,
			      "--engine",
			      d->options->engine,
			      d->machines ? "--state" : NULL,
			      d->machines,
			      NULL};
	sigset_t none;
	pid_t pid;

	if (!vmctl) {
		give_up(d, &err);
		return;
	}
	sigemptyset(&none);
	pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &none, NULL);
		execv(vmctl, (char *const *)(uintptr_t)argv);
		fprintf(stderr, "pffs: cannot run %s: %s\n", vmctl, strerror(errno));
		_exit(127);
	}
	if (pid < 0) {
		error_set(&err, errno, "cannot start vmctl");
		give_up(d, &err);
		return;
	}
	d->vmctl = pid;
	d->own = true;
	d->adopted = false;
}

static void mount_now(struct daemon *d)
{
	const struct fs_options options = {.mountpoint = d->options->mountpoint,
					   .allow_other = d->options->allow_other,
					   .uid = getuid(),
					   .gid = getgid()};
	struct error err;
	char sentence[512];

	d->fs->control = d->control.name;
	if (config_check_host(&d->core, &err) < 0 ||
	    control_init(&d->control, &d->core, options.allow_other, &err) < 0 ||
	    fs_mount(d->fs, &d->core, &options, &err) < 0) {
		give_up(d, &err);
		return;
	}
	d->up = true;
	snprintf(sentence, sizeof(sentence), "mounted at %s, engine %s%s",
		 d->options->mountpoint, d->core.engine,
		 strcmp(d->core.engine, "emulated") == 0
		     ? ": this machine has no usable KVM, so sandboxes run in software, "
		       "10 to 30 times slower; `pffs doctor` says why"
		     : "");
	d->ready(d->ctx, sentence);
}

static void vmctl_answered(void *ctx, const struct error *err)
{
	struct daemon *d = ctx;

	if (err) /* link_lost() follows */
		return;
	loop_timer_cancel(&d->start_limit);
	loop_timer_cancel(&d->lost_limit);
	if (!d->up)
		mount_now(d);
}

static void link_up(struct loop_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, relink);
	struct error err;
	int fd = io_connect_unix(d->options->socket, &err);

	if (fd >= 0) {
		adopt_vmctl(d, fd);
		if (d->vmctl && !d->adopted)
			note_vmctl(d);
		if (core_connect(&d->core, fd, vmctl_answered, d, &err) < 0)
			give_up(d, &err);
		return;
	}
	if (fd != -ENOENT && fd != -ECONNREFUSED) {
		give_up(d, &err);
		return;
	}
	if (d->vmctl && kill(d->vmctl, 0) < 0)
		d->vmctl = 0; /* it was adopted, so nobody has told of its end */
	if (!d->vmctl && io_monotonic_ns() > d->patient_ns)
		start_vmctl(d);
	loop_timer_set(&d->loop, &d->relink, RETRY_MS);
}

static void link_lost(struct core *core, const char *reason)
{
	struct daemon *d = container_of(core, struct daemon, core);

	fprintf(stderr, "pffs: %s\n", reason);
	error_say(&core->error, EIO, "%s", reason);
	if (d->up && !d->vmctl)
		d->patient_ns = io_monotonic_ns() + PATIENCE_MS * 1000000ull;
	if (d->up && !d->lost_limit.deadline_ns)
		loop_timer_set(&d->loop, &d->lost_limit, GIVE_UP_MS);
	loop_timer_set(&d->loop, &d->relink, RETRY_MS);
}

/* Who waits for what is lost waits no longer. */
static void vmctl_did_not_come(struct loop_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, lost_limit);

	attach_give_up(&d->core, "the link to vmctl broke, and there was no other vmctl");
}

static void start_took_too_long(struct loop_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, start_limit);
	struct error err;

	error_say(&err, ETIMEDOUT, "vmctl at %s did not answer within %u seconds",
		  d->options->socket, START_LIMIT_MS / 1000);
	give_up(d, &err);
}

static void reap(struct daemon *d)
{
	struct error err;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != d->vmctl)
			continue;
		d->vmctl = 0;
		if (d->up)
			continue;
		error_say(&err, EIO, "vmctl ended before it was ready");
		give_up(d, &err);
	}
}

static void signal_came(struct loop_source *source, uint32_t revents)
{
	struct daemon *d = container_of(source, struct daemon, signals);
	struct signalfd_siginfo info;

	(void)revents;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(d);
		else
			loop_stop(&d->loop);
	}
}

static int watch_signals(struct daemon *d, struct error *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0 || loop_add(&d->loop, &d->signals, fd, EPOLLIN, signal_came) < 0)
		return error_set(err, errno, "cannot watch for signals");
	return 0;
}

static void mount_gone(struct fs *fs)
{
	loop_stop(fs->loop);
}

/* The machines of one that was killed wait for another one, which can end them. */
static void replace_vmctl(struct daemon *d)
{
	struct error ignored;
	int fd = -1;

	start_vmctl(d);
	for (unsigned ms = 0; d->vmctl && fd < 0 && ms < VMCTL_END_MS; ms += RETRY_MS) {
		poll(NULL, 0, RETRY_MS);
		fd = io_connect_unix(d->options->socket, &ignored);
	}
	if (fd >= 0)
		close(fd);
}

/* Our own vmctl ends its virtual machines when it is told to end. */
static void end_vmctl(struct daemon *d)
{
	struct pollfd pfd = {.events = POLLIN};

	if (!d->vmctl)
		return;
	kill(d->vmctl, SIGTERM);
	pfd.fd = (int)syscall(SYS_pidfd_open, d->vmctl, 0);
	if (pfd.fd >= 0 && poll(&pfd, 1, VMCTL_END_MS) == 0)
		kill(d->vmctl, SIGKILL);
	waitpid(d->vmctl, NULL, 0);
	if (pfd.fd >= 0)
		close(pfd.fd);
	if (d->noted)
		unlink(d->vmctl_pid);
}

/* Its folders: pffs's own, and that of a vmctl of its own. */
static int name_state(struct daemon *d, struct error *err)
{
	const char *dir = d->options->state;

	if (!dir)
		return 0;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		fprintf(stderr, "pffs: sandboxes cannot be frozen: cannot make %s: %s\n",
			dir, strerror(errno));
		return 0;
	}
	if (asprintf(&d->sandboxes, "%s/sandboxes", dir) < 0) {
		d->sandboxes = NULL;
		return error_set(err, ENOMEM, "cannot start");
	}
	if (asprintf(&d->machines, "%s/machines", dir) < 0) {
		d->machines = NULL;
		return error_set(err, ENOMEM, "cannot start");
	}
	if (asprintf(&d->vmctl_pid, "%s/vmctl.pid", dir) < 0) {
		d->vmctl_pid = NULL;
		return error_set(err, ENOMEM, "cannot start");
	}
	return 0;
}

/* Each sandbox has a journal open, and may have spool files. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int serve(struct daemon *d)
{
	struct core_options core_options = {
	    .images = d->options->images,
	    .memory_mib = d->options->memory_mib,
	    .vcpus = d->options->vcpus,
	    .disk_mib = d->options->disk_mib,
	    .caps = d->options->caps,
	    .config = d->options->config,
	    .ready_limit_ms = READY_LIMIT_MS,
	};
	bool replace;
	int r;

	core_options.state = d->sandboxes;
	raise_descriptors();
	stream_set_spool_dir(paths_spool());
	r = core_init(&d->core, &d->loop, &core_options, &d->err);

	if (r < 0)
		return r;
	d->core.link_lost = link_lost;
	d->fs->ended = mount_gone;
	r = watch_signals(d, &d->err);
	if (r == 0) {
		loop_timer_init(&d->relink, link_up);
		loop_timer_init(&d->start_limit, start_took_too_long);
		loop_timer_init(&d->lost_limit, vmctl_did_not_come);
		loop_timer_set(&d->loop, &d->start_limit, START_LIMIT_MS);
		loop_timer_set(&d->loop, &d->relink, 0);
		loop_run(&d->loop);
	}
	/* One that never served anybody leaves what a former one has left. */
	if (!d->up)
		core_leave(&d->core);
	if (!d->up && d->adopted)
		d->vmctl = 0;
	replace = d->up && d->own && !d->vmctl && !vmm_connected(&d->core.vmm);
	/* Readers that wait are answered when their runs end, so the session goes last. */
	core_fini(&d->core);
	control_fini(&d->control);
	fs_unmount(d->fs);
	if (replace)
		replace_vmctl(d);
	end_vmctl(d);
	if (d->signals.fd >= 0)
		close(d->signals.fd);
	return d->err.code;
}

int daemon_run(const struct daemon_options *options,
	       void (*ready)(void *ctx, const char *sentence), void *ctx, struct error *err)
{
	cleanup_free struct fs *fs = calloc(1, sizeof(*fs));
	cleanup_free struct daemon *d = calloc(1, sizeof(*d));
	int r;

	if (!fs || !d)
		return error_set(err, ENOMEM, "cannot start");
	*d = (struct daemon){.options = options,
			     .fs = fs,
			     .ready = ready,
			     .ctx = ctx,
			     .signals = LOOP_SOURCE_NONE};
	r = loop_init(&d->loop, err);
	if (r < 0)
		return r;
	r = name_state(d, &d->err);
	if (r == 0)
		r = serve(d);
	loop_fini(&d->loop);
	free(d->sandboxes);
	free(d->machines);
	free(d->vmctl_pid);
	if (r < 0)
		*err = d->err;
	return r;
}
