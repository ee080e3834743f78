/*
 * Theory of operation
 *
 * With the driver of the balloon, the kernel tells the host what is free, first of
 * all memory, then of what becomes free. That pays when programs have used memory. In
 * a fork that has done nothing it costs: to report a block the kernel writes to its
 * struct page, which is one page of the host's for every 4 MiB, and what was shared
 * with the parent as free memory comes back as new memory, 2 MiB at a time. A
 * template's machine is forked before any of its programs have run. So the driver is
 * loaded a second after the first run of this machine has begun, and what is forked
 * before that has none.
 */
#include "guest/agent/reclaim.h"

#include "guest/agent/log.h"
#include "util/modules.h"

#include <fcntl.h>
#include <unistd.h>

#define DRIVER	   "/lib/modules/virtio_balloon.ko"
#define DELAY_MSEC 1000

static int driver_fd = -1;
static struct loop_timer timer;

static void load(struct loop_timer *t)
{
	struct error err;

	(void)t;
	if (modules_load_fd(driver_fd, DRIVER, &err) < 0)
		log_say("%s", err.text);
	close(driver_fd);
	driver_fd = -1;
}

void reclaim_init(void)
{
	driver_fd = open(DRIVER, O_RDONLY | O_CLOEXEC);
	loop_timer_init(&timer, load);
}

void reclaim_soon(struct loop *loop)
{
	if (driver_fd >= 0 && !timer.deadline_ns)
		loop_timer_set(loop, &timer, DELAY_MSEC);
}
