#include "vmctl/host.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "util/loop.h"
#include "vmctl/host_dir.h"
#include "vmctl/host_disks.h"
#include "vmctl/host_qemu.h"
#include "vmctl/host_relay.h"
#include "vmctl/host_state.h"
#include "vmctl/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define UP_DEADLINE_MS 180000
#define CONSOLE_KEPT   4096 /* newest bytes of the console */

struct host {
	struct loop loop;
	struct host_dir dir;
	struct qemu qemu;
	struct qmp qmp;
	struct disks disks;
	struct store store; /* held for the broker inside */
	struct relay relay;
	struct loop_source signals, console, ended;
	struct loop_timer deadline;
	struct buf said;
	uint64_t started_ns;
	bool found;	  /* QEMU was there already */
	struct error err; /* why it ended; code 0: it was told to */
};

/* QEMU warns of each feature of the CPU that it cannot emulate, and names many. */
static bool is_noise(const char *line)
{
	return !*line || strstr(line, "warning: TCG doesn't support requested feature");
}

/*
 * Show what the console said last, and find the line that tells most: the last
 * one of init or of a panic, or else the last one.
 */
static const char *last_words(struct host *host)
{
	const char *last = "it said nothing", *best = NULL;
	char *rest, *line;

	if (buf_append(&host->said, "", 1) < 0)
		return last;
	rest = (char *)buf_peek(&host->said);
	while ((line = strsep(&rest, "\r\n"))) {
		if (is_noise(line))
			continue;
		fprintf(stderr, "console: %s\n", line);
		last = line;
		if (strstr(line, "vmctl: ") || strstr(line, "Kernel panic"))
			best = line;
	}
	return best ? best : last;
}

static void host_lost(struct host *host, const char *how)
{
	if (host->err.code)
		return;
	error_say(&host->err, EIO, "the emulated host %s: %.200s", how, last_words(host));
	loop_stop(&host->loop);
}

/* Keep the newest bytes. Return: false when there are none now. */
static bool read_console(struct host *host)
{
	ssize_t n = buf_fill(&host->said, host->qemu.console, CONSOLE_KEPT);

	if (host->said.len > CONSOLE_KEPT)
		buf_consume(&host->said, host->said.len - CONSOLE_KEPT);
	if (n == 0)
		loop_del(&host->loop, &host->console);
	return n > 0;
}

static void on_console(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	read_console(container_of(source, struct host, console));
}

static void on_ended(struct loop_source *source, uint32_t revents)
{
	struct host *host = container_of(source, struct host, ended);

	(void)revents;
	loop_del(&host->loop, source);
	while (read_console(host))
		;
	host_lost(host, "has ended");
}

static void on_signal(struct loop_source *source, uint32_t revents)
{
	struct host *host = container_of(source, struct host, signals);
	struct signalfd_siginfo info;

	(void)revents;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info))
		loop_stop(&host->loop);
}

static void on_deadline(struct loop_timer *timer)
{
	host_lost(container_of(timer, struct host, deadline), "did not start in time");
}

static void on_up(struct relay *relay)
{
	struct host *host = container_of(relay, struct host, relay);
	uint64_t ms = (io_monotonic_ns() - host->started_ns) / 1000000u;

	loop_timer_cancel(&host->deadline);
	fprintf(stderr, "vmctl: the emulated host %s after %.1f s\n",
		host->found ? "of a former vmctl is taken up" : "is up", (double)ms / 1000);
}

/* The end of QEMU closes its ports first: wait for it, which tells more. */
static void on_lost(struct relay *relay)
{
	struct host *host = container_of(relay, struct host, relay);

	for (int i = 0; i < HOST_PORTS; i++)
		loop_del(&host->loop, &relay->ports[i].source);
	loop_del(&host->loop, &relay->line.source);
	loop_timer_cancel(&relay->line.again);
	loop_timer_set(&host->loop, &host->deadline, 1000);
}

static void on_monitor_lost(struct qmp *qmp, const char *how)
{
	host_lost(container_of(qmp, struct host, qmp), how);
}

static void on_settled(struct disks *disks)
{
	relay_go_on(&container_of(disks, struct host, disks)->relay);
}

/* A request passes when the broker knows all templates that there are. */
static bool may_pass(struct relay *relay, struct relay_port *port)
{
	struct host *host = container_of(relay, struct host, relay);
	json_t *units;
	char *text;

	if (!disks_settle(&host->disks))
		return false;
	if (port->told == host->disks.generation)
		return true;
	units = disks_describe(&host->disks);
	text = json_dumps(units, JSON_COMPACT);
	if (text && link_put(&port->out, 0, LINK_DISKS, text, strlen(text)) == 0)
		port->told = host->disks.generation;
	free(text);
	json_decref(units);
	return true;
}

static int take_signals(struct host *host, int *fd, struct error *err)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	*fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (*fd < 0 || loop_add(&host->loop, &host->signals, *fd, EPOLLIN, on_signal) < 0)
		return error_set(err, errno, "cannot take signals");
	return 0;
}

/* What it has of QEMU's is watched, and the disks are known. */
static int connect_all(struct host *host, const char *images, int listen_fd,
		       struct error *err)
{
	static const struct relay_ops ops = {on_up, on_lost, may_pass};
	int known = disks_init(&host->disks, &host->qmp, &host->dir, images, on_settled);
	int r = qmp_init(&host->qmp, &host->loop, host->qemu.monitor, on_monitor_lost);

	if (r == 0)
		r = known;
	if (r == 0)
		r = loop_add(&host->loop, &host->console, host->qemu.console, EPOLLIN,
			     on_console);
	if (r == 0)
		r = loop_add(&host->loop, &host->ended, host->qemu.pidfd, EPOLLIN,
			     on_ended);
	if (r < 0)
		return error_set(err, -r, "cannot talk to QEMU");
	return relay_init(&host->relay, &host->loop, listen_fd, host->qemu.ports,
			  host->qemu.line, &ops, err);
}

/* Return: 0, or -errno with @err filled: host->err says that it is of QEMU's doing. */
static int host_run(struct host *host, const char *images, int listen_fd, struct error *err)
{
	int r = connect_all(host, images, listen_fd, err);

	loop_timer_set(&host->loop, &host->deadline, UP_DEADLINE_MS);
	if (r == 0) {
		disks_settle(&host->disks);
		r = loop_run(&host->loop);
		relay_fini(&host->relay);
		if (r < 0)
			error_set(err, -r, "cannot wait for events");
	}
	loop_timer_cancel(&host->deadline);
	qmp_fini(&host->qmp);
	disks_fini(&host->disks);
	if (r == 0 && host->err.code) {
		*err = host->err;
		r = err->code;
	}
	return r;
}

/* Return: the disk of frozen machines, to free(), or NULL: there will be none. */
static char *prepare_state(struct host *host, const char *dir)
{
	struct error why;
	char *path = NULL;

	store_open(&host->store, dir);
	if (dir && store_check(&host->store, &why) == 0)
		path = host_state_prepare(&host->store, &why);
	if (dir && !path)
		fprintf(stderr, "vmctl: machines cannot be frozen: %s\n", why.text);
	return path;
}

/* What was found did not come up. Return: 0: there is no QEMU now, and no trace of one. */
static int forget(struct host *host, const struct error *why)
{
	fprintf(stderr, "vmctl: %s\n", why->text);
	qemu_stop(&host->qemu);
	host_dir_clear(&host->dir);
	host->err = (struct error){0};
	host->found = false;
	return 0;
}

/*
 * In the run directory, which is gone afterwards unless it has a QEMU that is left to the
 * next vmctl. The QEMU of a vmctl that was killed may be about to end, too; then another
 * one is started.
 */
static int host_serve_in(struct host *host, const struct serve_options *options,
			 int listener, struct error *err)
{
	cleanup_free char *state = prepare_state(host, options->state);
	const struct qemu_options wanted = {
	    .images = options->images,
	    .state = state,
	    .memory_mib = options->host_memory_mib,
	};
	int r = qemu_find(&host->qemu, &host->dir, &wanted, err);

	if (r < 0)
		return r;
	host->found = r > 0;
	if (host->found)
		r = host_run(host, options->images, listener, err);
	if (host->found && r < 0 && !host->err.code) {
		qemu_leave(&host->qemu);
		return r;
	}
	if (host->found && r < 0 && !host->relay.up)
		r = forget(host, err);
	if (r == 0 && !host->found) {
		r = qemu_start(&host->qemu, &host->dir, &wanted, err);
		if (r == 0)
			r = host_run(host, options->images, listener, err);
	}
	qemu_stop(&host->qemu);
	host_dir_remove(&host->dir);
	return r;
}

int host_serve(const struct serve_options *options, int listen_fd, struct error *err)
{
	cleanup_close int signal_fd = -1;
	struct host host = {.store.lock_fd = -1, .started_ns = io_monotonic_ns()};
	int r = loop_init(&host.loop, err);

	if (r < 0)
		return r;
	loop_timer_init(&host.deadline, on_deadline);
	qemu_init(&host.qemu);
	r = take_signals(&host, &signal_fd, err);
	if (r == 0) {
		r = host_dir_open(&host.dir, options->socket, err);
		if (r == 0)
			r = host_serve_in(&host, options, listen_fd, err);
		host_dir_close(&host.dir);
	}
	buf_fini(&host.said);
	store_close(&host.store);
	loop_fini(&host.loop);
	return r;
}
