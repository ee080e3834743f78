#include "pffs/cli/rights.h"

#include "pffs/cli/confine.h"
#include "pffs/cli/paths.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

__attribute__((format(printf, 2, 3))) static int name(char **to, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(to, fmt, ap);
	va_end(ap);
	if (n < 0)
		*to = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* Its folders: pffs's own, and that of a vmctl of its own. */
static int name_state(struct rights *rights, const char *dir)
{
	if (!dir)
		return 0;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		fprintf(stderr, "pffs: sandboxes cannot be frozen: cannot make %s: %s\n",
			dir, strerror(errno));
		return 0;
	}
	return name(&rights->sandboxes, "%s/sandboxes", dir) < 0 ||
		       name(&rights->machines, "%s/machines", dir) < 0 ||
		       name(&rights->vmctl_pid, "%s/vmctl.pid", dir) < 0
		   ? -ENOMEM
		   : 0;
}

static int name_places(struct rights *rights, const struct daemon_options *options,
		       struct error *err)
{
	rights->runtime = paths_runtime_dir(err);
	if (!rights->runtime)
		return err->code;
	if (name(&rights->api_socket, "%s/%d.sock", rights->runtime, getpid()) < 0 ||
	    name_state(rights, options->state) < 0)
		return error_set(err, ENOMEM, "cannot start");
	return 0;
}

static int begin_guard(struct rights *rights, const struct daemon_options *o,
		       struct error *err)
{
	const struct guard_options options = {
	    .vmctl = {.socket = o->socket,
		      .images = o->images,
		      .engine = o->engine,
		      .uplink = o->uplink,
		      .machines = rights->machines,
		      .pid_file = rights->vmctl_pid},
	    .mountpoint = o->mountpoint,
	    .allow_other = o->allow_other,
	    .spool = paths_spool(),
	    .api_socket = rights->api_socket,
	    .log = o->log,
	};

	return guard_begin(&rights->guard, &options, err);
}

/* A directory by its descriptor, if there is one. */
static char *reach(int fd, const char *path)
{
	char *reached = NULL;

	if (fd < 0)
		return path ? strdup(path) : NULL;
	return name(&reached, "/proc/self/fd/%d", fd) < 0 ? NULL : reached;
}

/* One that cannot be used is told of by who needs it. */
static int open_places(struct rights *rights, const struct daemon_options *options,
		       struct error *err)
{
	if (rights->sandboxes)
		rights->state_fd = account_own(&rights->account, rights->sandboxes, NULL);
	rights->images_fd = open(options->images, O_PATH | O_DIRECTORY | O_CLOEXEC);
	rights->state = reach(rights->state_fd, rights->sandboxes);
	rights->images = reach(rights->images_fd, options->images);
	if (!rights->images || (rights->sandboxes && !rights->state))
		return error_set(err, ENOMEM, "cannot start");
	return 0;
}

int rights_begin(struct rights *rights, const struct daemon_options *options,
		 struct error *err)
{
	int r = account_choose(options->user, &rights->account, err);

	rights->owner = getuid();
	rights->owner_group = getgid();
	if (r == 0)
		r = name_places(rights, options, err);
	if (r == 0)
		r = begin_guard(rights, options, err);
	if (r == 0)
		r = open_places(rights, options, err);
	return r;
}

int rights_give_up(struct rights *rights, struct error *err)
{
	int r = account_enter(&rights->account, err);

	if (r == 0)
		r = confine(rights->state_fd, rights->images_fd, err);
	if (r < 0)
		return r;
	rights->landlock = (unsigned)r;
	return 0;
}

void rights_end(struct rights *rights)
{
	guard_end(&rights->guard);
	if (rights->state_fd >= 0)
		close(rights->state_fd);
	if (rights->images_fd >= 0)
		close(rights->images_fd);
	free(rights->images);
	free(rights->state);
	free(rights->runtime);
	free(rights->api_socket);
	free(rights->sandboxes);
	free(rights->machines);
	free(rights->vmctl_pid);
	*rights = RIGHTS_NONE;
}
