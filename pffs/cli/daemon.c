/*
 * Theory of operation
 *
 * The daemon first opens what it needs, and gives up the rights of who started it
 * (rights.h). It connects to vmctl's socket; when nobody listens there it has a vmctl of
 * its own started, and tries again until that answers. When vmctl has answered, the
 * directory is mounted, and HTTP is answered. A link that breaks later leaves the mount up.
 * A vmctl of its own is started anew; for another one there are PATIENCE_MS before it
 * starts its own. Sandboxes whose machines outlived vmctl go on (attach.h); if none has
 * answered after GIVE_UP_MS they are dead.
 *
 * It ends when the directory is unmounted or on SIGTERM or SIGINT: the sandboxes
 * go first, which answers whoever waits for them, then HTTP and the mount, then a vmctl of
 * its own. When it is killed instead, that vmctl and the machines go on: the next daemon
 * with the same state directory finds there whose vmctl it was, and makes it its own.
 */
#include "pffs/cli/daemon.h"

#include "pffs/cli/control.h"
#include "pffs/cli/rights.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/record/attach.h"
#include "pffs/core/sandbox.h"
#include "pffs/core/stream.h"
#include "pffs/fs/fs.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RETRY_MS       100u
#define PATIENCE_MS    10000u  /* until another vmctl than one of our own has to be there */
#define GIVE_UP_MS     30000u  /* until machines that were lost with vmctl are given up */
#define START_LIMIT_MS 120000u /* until vmctl must have answered */
#define READY_LIMIT_MS 300000u /* until a guest must have answered */
#define VMCTL_WAIT_MS  15000   /* until one that is only to end machines must have come */

struct daemon {
	const struct daemon_options *options;
	struct loop loop;
	struct core core;
	struct fs *fs;
	struct rights rights;
	int binder[2]; /* of binder_fork(), until there is a core */
	struct server server;
	struct control control; /* and the mounts of single sandboxes */
	struct loop_source signals;
	struct loop_timer relink, start_limit, lost_limit;
	uint64_t patient_ns; /* until then who runs a vmctl has time to start it again */
	pid_t vmctl;	     /* our own; 0 while there is none */
	bool own;	     /* there was one */
	bool adopted;	     /* it was that of a daemon that was killed */
	bool ended_early;    /* our own ended before anybody had answered */
	bool up;	     /* mounted, and listening */
	void (*ready)(void *ctx, const char *sentence);
	void *ctx;
	struct error err; /* why it ends, if not in order */
};

static void give_up(struct daemon *d, const struct error *err)
{
	d->err = *err;
	loop_stop(&d->loop);
}

/* The state directory says whose vmctl it is, to the one daemon that has its lock. */
static bool has_state(const struct daemon *d)
{
	return d->core.state_fd >= 0;
}

static void note_vmctl(struct daemon *d)
{
	if (d->vmctl && !d->adopted && has_state(d))
		guard_note(&d->rights.guard);
}

/* Is it the vmctl of a daemon that was killed to whom we are connected? */
static void adopt_vmctl(struct daemon *d)
{
	if (d->vmctl || !has_state(d))
		return;
	d->vmctl = guard_adopt(&d->rights.guard);
	if (d->vmctl)
		d->own = d->adopted = true;
}

static void start_vmctl(struct daemon *d)
{
	struct error err;
	pid_t pid = guard_start(&d->rights.guard, &err);

	/* One that was adopted has not ended yet: the guard has a pidfd of it. */
	if (pid == -EBUSY && d->adopted)
		return;
	if (pid < 0) {
		give_up(d, &err);
		return;
	}
	d->vmctl = pid;
	d->own = true;
	d->adopted = false;
}

static int mount_fs(struct daemon *d, struct error *err)
{
	struct fs_options options = {.allow_other = d->options->allow_other,
				     .uid = d->core.options.uid,
				     .gid = d->core.options.gid};
	int r;

	if (!d->options->mountpoint)
		return 0;
	d->fs->control = d->control.name;
	d->fs->doors = d->server.where;
	r = control_init(&d->control, &d->core, options.allow_other, err);
	if (r < 0)
		return r;
	options.fuse_fd = guard_mount(&d->rights.guard, err);
	return options.fuse_fd < 0 ? options.fuse_fd
				   : fs_mount(d->fs, &d->core, &options, err);
}

static void tell_ready(struct daemon *d)
{
	bool slow = strcmp(d->core.engine, "emulated") == 0;
	char where[256], sentence[768];
	size_t used = 0;

	where[0] = '\0';
	for (unsigned i = 0; i < d->server.count && used < sizeof(where); i++)
		if (!d->server.listeners[i].local)
			used +=
			    (size_t)snprintf(where + used, sizeof(where) - used,
					     ", http://%s", d->server.listeners[i].address);
	if (d->options->mountpoint)
		snprintf(sentence, sizeof(sentence), "mounted at %s%s",
			 d->options->mountpoint, where);
	else
		snprintf(sentence, sizeof(sentence), "process %d serves %s", getpid(),
			 *where ? where + 2 : "a Unix socket");
	used = strlen(sentence);
	snprintf(sentence + used, sizeof(sentence) - used, ", engine %s%s", d->core.engine,
		 slow ? ": this machine has no usable KVM, so sandboxes run in software, "
			"10 to 30 times slower; `pffs doctor` says why"
		      : "");
	d->ready(d->ctx, sentence);
}

static void begin_now(struct daemon *d)
{
	struct error err;

	if (config_check_host(&d->core, &err) < 0 || mount_fs(d, &err) < 0 ||
	    server_begin(&d->server, &err) < 0) {
		give_up(d, &err);
		return;
	}
	ports_begin_all(&d->core);
	d->up = true;
	tell_ready(d);
}

static void vmctl_answered(void *ctx, const struct error *err)
{
	struct daemon *d = ctx;

	if (err) { /* link_lost() follows, or there was no memory to take machines up */
		d->core.engine[0] = '\0';
		return;
	}
	loop_timer_cancel(&d->start_limit);
	loop_timer_cancel(&d->lost_limit);
	if (!d->up)
		begin_now(d);
}

static void link_up(struct loop_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, relink);
	struct error err;
	int fd = guard_connect(&d->rights.guard, &err);

	if (fd >= 0) {
		adopt_vmctl(d);
		note_vmctl(d);
		if (core_connect(&d->core, fd, vmctl_answered, d, &err) < 0)
			give_up(d, &err);
		return;
	}
	if (fd != -ENOENT && fd != -ECONNREFUSED) {
		give_up(d, &err);
		return;
	}
	if (d->ended_early && !d->up) {
		error_say(&err, EIO, "vmctl ended before it was ready");
		give_up(d, &err);
		return;
	}
	/* Of the end of one that was adopted nobody tells. */
	if ((!d->vmctl || d->adopted) && io_monotonic_ns() > d->patient_ns)
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

	/* One has come, and gives back one machine after the other. */
	if (d->core.engine[0]) {
		loop_timer_set(&d->loop, timer, GIVE_UP_MS);
		return;
	}
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

/* It may have ended because another one that was begun at the same time listens already,
 * and answers yet: that is seen by who connects. */
static void reap(struct daemon *d)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != d->vmctl)
			continue;
		d->vmctl = 0;
		d->ended_early = !d->up;
		if (d->ended_early && !vmm_connected(&d->core.vmm))
			loop_timer_set(&d->loop, &d->relink, 0);
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
	for (unsigned ms = 0; d->vmctl && fd < 0 && ms < VMCTL_WAIT_MS; ms += RETRY_MS) {
		poll(NULL, 0, RETRY_MS);
		fd = guard_connect(&d->rights.guard, &ignored);
	}
	if (fd >= 0)
		close(fd);
}

/* Our own vmctl ends its virtual machines when it is told to end. */
static void end_vmctl(struct daemon *d)
{
	if (d->vmctl && guard_stop(&d->rights.guard) == 0)
		waitpid(d->vmctl, NULL, 0);
}

/* Before anything else: what cannot be had is told at once. */
static int listen_http(struct daemon *d, struct error *err)
{
	struct server_options http = d->options->http;

	server_remove_stale(d->rights.runtime);
	http.socket = d->rights.api_socket;
	return server_listen(&d->server, &d->loop, &d->core, &http, err);
}

static int open_spool(void *ctx)
{
	struct daemon *d = ctx;

	return guard_spool(&d->rights.guard);
}

static int begin_core(struct daemon *d)
{
	const struct daemon_options *o = d->options;
	const struct core_options options = {
	    .images = d->rights.images,
	    .mountpoint = o->mountpoint,
	    .memory_mib = o->memory_mib,
	    .vcpus = o->vcpus,
	    .disk_mib = o->disk_mib,
	    .caps = o->caps,
	    .config = o->config,
	    .net = o->net,
	    .ready_limit_ms = READY_LIMIT_MS,
	    .state = d->rights.state,
	    .state_name = d->rights.sandboxes,
	    .uid = d->rights.owner,
	    .gid = d->rights.owner_group,
	    .user = d->rights.account.name,
	    .landlock = d->rights.landlock,
	};

	stream_set_spool(open_spool, d);
	return core_init(&d->core, &d->loop, &options, &d->err);
}

static int run(struct daemon *d)
{
	int r = watch_signals(d, &d->err);

	if (r < 0)
		return r;
	loop_timer_init(&d->relink, link_up);
	loop_timer_init(&d->start_limit, start_took_too_long);
	loop_timer_init(&d->lost_limit, vmctl_did_not_come);
	loop_timer_set(&d->loop, &d->start_limit, START_LIMIT_MS);
	loop_timer_set(&d->loop, &d->relink, 0);
	loop_run(&d->loop);
	return d->err.code;
}

static void end_mount(struct daemon *d)
{
	bool mounted = d->fs->session && d->fs->source.fd >= 0;

	control_fini(&d->control);
	/* No release will come of what is open yet; but an answer that is owed refers to
	 * it. */
	if (d->fs->session && !d->fs->owed)
		fs_close_all(d->fs);
	fs_unmount(d->fs);
	if (mounted)
		guard_unmount(&d->rights.guard);
}

static int serve(struct daemon *d)
{
	bool replace;
	int r = begin_core(d);

	if (r < 0)
		return r;
	r = binder_start(&d->core.binder, d->binder, &d->err);
	if (r < 0)
		return r;
	d->core.link_lost = link_lost;
	d->fs->ended = mount_gone;
	r = run(d);
	/* One that never served anybody leaves what a former one has left. */
	if (!d->up)
		core_leave(&d->core);
	if (!d->up && d->adopted)
		d->vmctl = 0;
	replace = d->up && d->own && !d->vmctl && !vmm_connected(&d->core.vmm);
	/* Who waits is answered when his run ends, and may still ask what was. */
	core_end(&d->core);
	server_fini(&d->server);
	end_mount(d);
	core_fini(&d->core);
	if (replace)
		replace_vmctl(d);
	end_vmctl(d);
	if (d->signals.fd >= 0)
		close(d->signals.fd);
	return r;
}

/* Whatever has to be opened, bound or forked with the rights of who started pffs comes
 * before these are given up. */
static int begin_and_serve(struct daemon *d)
{
	int r = rights_begin(&d->rights, d->options, &d->err);

	if (r == 0)
		r = binder_fork(d->options->mountpoint, d->binder, &d->err);
	if (r == 0)
		r = listen_http(d, &d->err);
	if (r == 0)
		r = rights_give_up(&d->rights, &d->err);
	if (r == 0) {
		d->err = (struct error){0}; /* what was tried and could do without */
		r = serve(d);
	}
	server_fini(&d->server);
	if (r == 0 && d->options->log)
		guard_tidy(&d->rights.guard);
	rights_end(&d->rights);
	return r;
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
			     .rights = RIGHTS_NONE,
			     .signals = LOOP_SOURCE_NONE};
	r = loop_init(&d->loop, err);
	if (r < 0)
		return r;
	/* Each sandbox has a journal open, and may have spool files. */
	io_raise_descriptors();
	r = begin_and_serve(d);
	loop_fini(&d->loop);
	if (r < 0)
		*err = d->err;
	return r;
}
