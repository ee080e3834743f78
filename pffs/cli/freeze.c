#include "pffs/cli/freeze.h"

#include "pffs/cli/mounts.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* From now on no signal but SIGKILL leaves the fork behind. */
static void hold_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

int freeze(const char *sandbox, const char *name, struct error *err)
{
	cleanup_free char *path = NULL, *mount = NULL, *fork = NULL, *template = NULL;
	int r = mounts_resolve(sandbox, &path, &mount, err);

	if (r < 0)
		return r;
	if (asprintf(&fork, "%s/forks/freeze-%d-%llx", path, getpid(),
		     (unsigned long long)io_monotonic_ns()) < 0)
		fork = NULL;
	if (asprintf(&template, "%s/templates/%s", mount, name) < 0)
		template = NULL;
	if (!fork || !template)
		return error_set(err, ENOMEM, "cannot freeze %s", sandbox);
	hold_signals();
	if (mkdir(fork, 0700) < 0)
		return mounts_explain(path, errno, "cannot fork the sandbox", err);
	if (rename(fork, template) == 0)
		return 0;
	r = mounts_explain(mount, errno, "cannot make a template of the sandbox", err);
	rmdir(fork);
	return r;
}
