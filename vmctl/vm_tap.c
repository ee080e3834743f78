#include "vmctl/vm_tap.h"

#include <unistd.h>

void vm_tap_init(struct vm_tap *tap, struct machine *machine, struct loop *loop,
		 void (*end)(const char *reason, int errnum))
{
	*tap = (struct vm_tap){
	    .machine = machine, .loop = loop, .source = LOOP_SOURCE_NONE, .end = end};
}

static void move_frames(struct vm_tap *tap)
{
	struct error err;

	if (!tap->still && machine_net_ready(tap->machine, &err) < 0)
		tap->end(err.text, -err.code);
}

/* Under the device lock. */
static void drop(struct vm_tap *tap)
{
	int fd = tap->source.fd;

	if (fd < 0)
		return;
	loop_del(tap->loop, &tap->source);
	close(fd);
}

/* Errors are told whether they are waited for or not, and again until it is dropped. */
static void on_tap(struct loop_source *source, uint32_t revents)
{
	struct vm_tap *tap = container_of(source, struct vm_tap, source);
	struct machine *m = tap->machine;

	if (!(revents & (EPOLLERR | EPOLLHUP)))
		move_frames(tap);
	pthread_mutex_lock(&m->lock);
	if (revents & (EPOLLERR | EPOLLHUP))
		virtio_net_connect(&m->net, -1);
	if (m->net.tap_fd < 0)
		drop(tap);
	pthread_mutex_unlock(&m->lock);
}

/* Under the device lock. */
static int replace(struct vm_tap *tap, int fd)
{
	int r = 0;

	virtio_net_connect(&tap->machine->net, -1);
	drop(tap);
	if (fd >= 0)
		r = loop_add(tap->loop, &tap->source, fd, 0, on_tap);
	if (fd >= 0 && r == 0)
		virtio_net_connect(&tap->machine->net, fd);
	return r;
}

int vm_tap_order(struct vm_tap *tap, struct vm_fork_fds *fds, struct error *err)
{
	int r;

	pthread_mutex_lock(&tap->machine->lock);
	r = replace(tap, fds->count ? fds->fd[0] : -1);
	pthread_mutex_unlock(&tap->machine->lock);
	for (unsigned i = r < 0 ? 0 : 1; i < fds->count; i++)
		close(fds->fd[i]);
	if (r < 0)
		return error_set(err, -r, "cannot watch the VM's tap");
	move_frames(tap);
	return 0;
}

void vm_tap_watch(struct vm_tap *tap)
{
	const struct virtio_net *net = &tap->machine->net;

	if (tap->source.fd >= 0)
		loop_mod(tap->loop, &tap->source,
			 net->want_in && !tap->still ? EPOLLIN : 0);
}

void vm_tap_still(struct vm_tap *tap, bool still)
{
	pthread_mutex_lock(&tap->machine->lock);
	tap->still = still;
	vm_tap_watch(tap);
	pthread_mutex_unlock(&tap->machine->lock);
	move_frames(tap);
}

void vm_tap_part(struct vm_tap *tap)
{
	if (tap->source.fd >= 0)
		close(tap->source.fd);
	tap->source = LOOP_SOURCE_NONE;
	tap->still = false;
}
