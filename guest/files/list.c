#include "guest/files/call.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define BATCH (32u << 10) /* bytes of names from the kernel at a time */

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Return: whether there is room for more. A name that has gone meanwhile is left out. */
static bool put_name(struct cursor *c, int dir, const struct dirent64 *d)
{
	struct files_entry entry = {.cookie = (uint64_t)d->d_off};
	struct cursor before = *c;

	if (is_dots(d->d_name) || strlen(d->d_name) > FILES_NAME_MAX ||
	    attr_of(dir, d->d_name, &entry.attr) < 0)
		return true;
	strcpy(entry.name, d->d_name);
	files_put_entry(c, &entry);
	if (c->overflow)
		*c = before;
	return !before.overflow && c->p != before.p;
}

bool is_empty(int dir)
{
	_Alignas(struct dirent64) char batch[BATCH];
	ssize_t n;

	while ((n = getdents64(dir, batch, sizeof(batch))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(batch + at);

			if (!is_dots(d->d_name))
				return false;
			at += d->d_reclen;
		}
	return n == 0;
}

/* Return: 1 at the end of the directory, 0 when there is no more room, or -errno. */
static int put_names(struct cursor *c, int dir)
{
	union {
		struct dirent64 first;
		char room[BATCH];
	} batch;

	for (;;) {
		ssize_t n = getdents64(dir, &batch, sizeof(batch));

		if (n < 0)
			return -errno;
		if (n == 0)
			return 1;
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(batch.room + at);

			if (!put_name(c, dir, d))
				return 0;
			at += d->d_reclen;
		}
	}
}

static int list(struct call *call, int dir)
{
	size_t size = call->req.size < FILES_IO_MAX ? call->req.size : FILES_IO_MAX;
	struct cursor c = cursor_into(call->data, size);
	int r;

	if (lseek(dir, (off_t)call->req.offset, SEEK_SET) < 0)
		return -errno;
	r = put_names(&c, dir);
	if (r < 0)
		return r;
	call->reply.data_len = (uint32_t)(size - cursor_left(&c));
	call->reply.value = (uint64_t)r;
	return r == 0 && !call->reply.data_len ? -EINVAL : 0; /* no room for one entry */
}

static int list_handle(struct call *call)
{
	int r;

	pthread_mutex_lock(&call->handle->position);
	r = list(call, call->fd);
	pthread_mutex_unlock(&call->handle->position);
	return r;
}

static int open_path(struct call *call)
{
	call->fd = walk(call->server, call->req.path, O_RDONLY | O_DIRECTORY);
	call->path_fd = call->fd >= 0;
	return call->fd < 0 ? call->fd : 0;
}

static int keep(struct call *call)
{
	call->path_fd = false;
	return handle_add(call, call->fd, false);
}

/* The watch comes first: what changes from here on is told. */
int op_list(struct call *call)
{
	int r = call->handle ? 0 : open_path(call);

	if (r < 0)
		return r;
	if (call->req.flags & FILES_WATCH)
		call->reply.watch = watch_directory(call->server, call->fd);
	call->changed = changes_so_far(call->server, call->reply.watch);
	r = call->handle ? list_handle(call) : list(call, call->fd);
	if (r == 0 && !call->handle && !call->reply.value && call->req.flags & FILES_KEEP)
		r = keep(call);
	return r;
}
