#include "guest/files/call.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <sys/mman.h>

/* The tree is kept in memory until the host has read it. */
int op_tree(struct call *call)
{
	cleanup_close int fd = -1;
	struct buf bytes = {0};
	int r =
	    tree_walk(&call->server->changes.layers, call->req.flags & FILES_IMAGE, &bytes);

	if (r == 0) {
		fd = memfd_create("tree", MFD_CLOEXEC);
		r = fd < 0 ? -errno : io_write_all(fd, buf_peek(&bytes), bytes.len);
	}
	call->reply.value = bytes.len;
	buf_fini(&bytes);
	return r < 0 ? r : handle_add(call, steal_fd(&fd), false);
}
