#include "guest/files/call.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <sys/mman.h>

static int take_tree(const struct call *call, struct buf *bytes)
{
	const struct layers *layers = &call->server->changes.layers;
	struct picks picks = {0};
	int r;

	if (!call->req.data_len)
		return tree_walk(layers, call->req.flags & FILES_IMAGE, NULL, bytes);
	r = picks_parse(&picks, call->req.data, call->req.data_len);
	if (r == 0)
		r = tree_walk(layers, false, &picks, bytes);
	picks_fini(&picks);
	return r;
}

/* The tree is kept in memory until the host has read it. */
int op_tree(struct call *call)
{
	cleanup_close int fd = -1;
	struct buf bytes = {0};
	int r = take_tree(call, &bytes);

	if (r == 0) {
		fd = memfd_create("tree", MFD_CLOEXEC);
		r = fd < 0 ? -errno : io_write_all(fd, buf_peek(&bytes), bytes.len);
	}
	call->reply.value = bytes.len;
	buf_fini(&bytes);
	return r < 0 ? r : handle_add(call, steal_fd(&fd), false);
}
