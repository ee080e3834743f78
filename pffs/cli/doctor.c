/*
 * pffs doctor: what this machine has and lacks, and what to do about it.
 *
 * Each check prints one line, "ok" or "bad" first; a bad one is followed by the
 * command that mends it. The exit status is 0 when sandboxes can run here.
 */
#include "pffs/cli/account.h"
#include "pffs/cli/client.h"
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/confine.h"
#include "pffs/cli/paths.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define PROBE_MAX 65536 /* bytes of what `vmctl probe` may say */

static const char help[] =
    "usage: pffs doctor [--json]\n"
    "\n"
    "Checks what sandboxes need on this machine; what is bad is followed by the command\n"
    "that mends it. The exit status is 0 when nothing is.\n"
    "\n"
    "  --json        {\"ok\": boolean, \"checks\": [{\"ok\", \"what\", \"advice\"}...]}\n";

struct doctor {
	json_t *checks; /* when they are to be JSON */
	unsigned bad;
	bool emulated;
};

__attribute__((format(printf, 3, 4))) static void report(struct doctor *d, bool ok,
							 const char *fmt, ...)
{
	cleanup_free char *what = NULL;
	va_list ap;
	int n;

	if (!ok)
		d->bad++;
	va_start(ap, fmt);
	n = vasprintf(&what, fmt, ap);
	va_end(ap);
	if (n < 0)
		what = NULL;
	else if (d->checks)
		json_array_append_new(d->checks,
				      json_pack("{s:b, s:s}", "ok", ok, "what", what));
	else
		printf("%s%s\n", ok ? "ok   " : "bad  ", what);
}

/* What to do about the check before. */
static void advise(struct doctor *d, const char *what)
{
	json_t *check = json_array_get(d->checks, json_array_size(d->checks) - 1);

	if (d->checks)
		json_object_set_new(check, "advice", json_string(what));
	else
		printf("     -> %s\n", what);
}

/* Search PATH, as execvp() does. */
static bool have_program(const char *name)
{
	const char *path = getenv("PATH");
	cleanup_free char *dirs = strdup(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin");
	char *rest = dirs, *dir;

	while (rest && (dir = strsep(&rest, ":"))) {
		cleanup_free char *file = NULL;

		if (asprintf(&file, "%s/%s", dir, name) < 0)
			file = NULL;
		if (file && access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static void check_program(struct doctor *d, const char *name, const char *package)
{
	bool ok = have_program(name);
	char text[128];

	report(d, ok, "%s is %s", name, ok ? "installed" : "missing");
	if (ok)
		return;
	snprintf(text, sizeof(text), "apt-get install %s", package);
	advise(d, text);
}

static void check_fuse(struct doctor *d)
{
	cleanup_close int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	report(d, fd >= 0, "/dev/fuse: %s", fd >= 0 ? "can be opened" : strerror(errno));
	if (fd < 0)
		advise(d, errno == ENOENT ? "modprobe fuse"
					  : "run as root, or let this user open /dev/fuse");
	if (getuid() != 0)
		check_program(d, "fusermount3", "fuse3");
}

static void check_image(struct doctor *d, const char *file)
{
	cleanup_free char *path = NULL;
	bool ok;

	if (asprintf(&path, "%s/%s", paths_images(), file) < 0)
		path = NULL;
	ok = path && access(path, R_OK) == 0;
	report(d, ok, "image %s is %s", path ? path : file, ok ? "there" : "missing");
	if (!ok)
		advise(d, "guest/images/build");
}

/* What `vmctl probe --json` says, or NULL. */
static json_t *probe(const char *vmctl)
{
	char text[PROBE_MAX];
	size_t used = 0;
	ssize_t n;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		execl(vmctl, "vmctl", "probe", "--json", NULL);
		_exit(127);
	}
	close(fds[1]);
	while (used < sizeof(text) &&
	       (n = read(fds[0], text + used, sizeof(text) - used)) > 0)
		used += (size_t)n;
	close(fds[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return json_loadb(text, used, 0, NULL);
}

static void check_engine(struct doctor *d)
{
	struct error err;
	cleanup_free char *vmctl = paths_vmctl(&err);
	const char *engine = NULL, *why = "", *advice = "";
	json_t *found;

	if (!vmctl) {
		report(d, false, "%s", err.text);
		return;
	}
	found = probe(vmctl);
	json_unpack(found, "{s:s, s?s, s?s}", "engine", &engine, "why", &why, "advice",
		    &advice);
	report(d, engine != NULL, "engine: %s%s%s",
	       engine ? engine : "`vmctl probe` failed", *why ? ", because " : "", why);
	d->emulated = engine && strcmp(engine, "emulated") == 0;
	if (d->emulated)
		advise(d, advice);
	json_decref(found);
}

static void check_space(struct doctor *d)
{
	const char *dir = paths_spool();
	unsigned long long mib;
	struct statvfs st;

	if (statvfs(dir, &st) < 0)
		return;
	mib = (unsigned long long)st.f_bavail * st.f_frsize >> 20;
	report(d, mib >= 1024, "%s, where long output is kept, has %llu MiB free", dir,
	       mib);
	if (mib < 1024)
		advise(d, "make room there, or set TMPDIR to a directory with room");
}

/* Whose rights pffs has, and what it can reach: it runs in any case. */
static void check_rights(struct doctor *d)
{
	unsigned landlock = confine_version();
	struct account account;
	struct error err;

	if (account_choose(NULL, &account, &err) < 0) {
		report(d, false, "%s", err.text);
		return;
	}
	report(d, true, "pffs has the rights of user %s", account.name);
	if (account.nameless)
		advise(d, "useradd --system pffs");
	if (landlock)
		report(d, true, "Landlock, ABI %u, keeps it to its own directories",
		       landlock);
	else
		report(d, true,
		       "the kernel has no Landlock, which would keep it to its "
		       "own directories");
}

/* What a pffs that runs has found; before there is one nobody has tried. */
static void check_network(struct doctor *d)
{
	struct error err;
	cleanup_client struct client *client = client_open(NULL, NULL, &err);
	const char *uplink = NULL, *why = "";
	json_t *host = NULL;

	if (client && client_call(client, "GET", NULL, &host, &err, "/v1/host") == 0)
		json_unpack(host, "{s:{s:s, s:s}}", "network", "uplink", &uplink, "why",
			    &why);
	if (uplink)
		report(d, true, "network of sandboxes: uplink %s%s%s", uplink,
		       *why ? ", because " : "", why);
	if (uplink && strcmp(uplink, "none") == 0)
		advise(d, "run pffs as root, or apt-get install passt; or pffs mount "
			  "--uplink none");
	if (!uplink && getuid() != 0)
		check_program(d, "pasta", "passt");
	json_decref(host);
}

static void check_all(struct doctor *d)
{
	check_fuse(d);
	check_engine(d);
	check_image(d, "kernel");
	check_image(d, "initramfs");
	check_image(d, "upper.ext4");
	check_image(d, "templates/default.erofs");
	if (d->emulated) {
		check_image(d, "host-initramfs");
		check_program(d, "qemu-system-x86_64", "qemu-system-x86");
	}
	check_network(d);
	check_space(d);
	check_rights(d);
}

int cmd_doctor(int argc, char **argv)
{
	struct command c = {.help = help};
	struct doctor d = {0};
	json_t *found;

	if (!command_parse(&c, argc, argv))
		return c.status;
	d.checks = c.json ? json_array() : NULL;
	check_all(&d);
	found = json_pack("{s:b, s:o*}", "ok", !d.bad, "checks", d.checks);
	if (c.json)
		command_print_json(&c, found);
	else
		puts(d.bad ? "Some things need attention before sandboxes can run here."
			   : "Sandboxes can run here.");
	json_decref(found);
	return c.status ? c.status : d.bad ? 1 : 0;
}
