#include "pffs/cli/progress.h"

#include "util/io.h"

#include <stdio.h>
#include <sys/timerfd.h>
#include <unistd.h>

void progress_begin(struct progress *progress, const char *what)
{
	const struct itimerspec each = {.it_value = {.tv_sec = 1},
					.it_interval = {.tv_sec = 1}};

	*progress =
	    (struct progress){.what = what, .since_ns = io_monotonic_ns(), .fd = -1};
	if (!what || !isatty(STDERR_FILENO))
		return;
	progress->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (progress->fd >= 0)
		timerfd_settime(progress->fd, 0, &each, NULL);
}

int progress_tick(void *ctx)
{
	struct progress *progress = ctx;
	uint64_t seconds = (io_monotonic_ns() - progress->since_ns) / 1000000000u, times;

	if (read(progress->fd, &times, sizeof(times)) < 0)
		return 0;
	fprintf(stderr, "\rpffs: %s, %llu s", progress->what, (unsigned long long)seconds);
	progress->shown = true;
	return 0;
}

void progress_end(struct progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	if (progress->fd >= 0)
		close(progress->fd);
	progress->fd = -1;
	progress->shown = false;
}
