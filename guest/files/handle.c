#include "guest/files/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANDLES_MAX 32768

static struct handle **bucket_of(struct server *server, uint32_t id)
{
	return &server->handles[id % HANDLE_BUCKETS];
}

static struct folder **folders_of(struct server *server, uint64_t ino)
{
	return &server->folders[ino % FOLDER_BUCKETS];
}

/* Return: one more user's, or NULL. The server's lock is held. */
static struct folder *folder_find(struct server *server, const struct files_attr *attr)
{
	struct folder *folder = *folders_of(server, attr->ino);

	while (folder && (folder->ino != attr->ino || folder->dev != attr->dev))
		folder = folder->next;
	if (folder)
		folder->users++;
	return folder;
}

/* The place's descriptor becomes the folder's, but for the time of the call it stays
 * where it is: the call's handle keeps it. */
static struct folder *folder_new(struct server *server, struct place *place,
				 const struct files_attr *attr)
{
	struct folder *folder = calloc(1, sizeof(*folder));

	if (!folder)
		return NULL;
	folder->users = 1;
	folder->fd = place->dir;
	folder->dev = attr->dev;
	folder->ino = attr->ino;
	folder->next = *folders_of(server, attr->ino);
	*folders_of(server, attr->ino) = folder;
	place->own = false;
	return folder;
}

static void folder_put(struct server *server, struct folder *folder)
{
	struct folder **at;

	if (!folder)
		return;
	pthread_mutex_lock(&server->lock);
	if (--folder->users) {
		folder = NULL;
	} else {
		at = folders_of(server, folder->ino);
		while (*at != folder)
			at = &(*at)->next;
		*at = folder->next;
	}
	pthread_mutex_unlock(&server->lock);
	if (folder)
		close(folder->fd);
	free(folder);
}

/* Where it was opened. Without that its changes are told like everybody's. */
static void remember_place(struct server *server, struct handle *handle,
			   struct place *place)
{
	struct files_attr attr;

	if (place->dir < 0 || attr_of(place->dir, "", &attr) < 0)
		return;
	handle->name = strdup(place->name);
	if (!handle->name)
		return;
	pthread_mutex_lock(&server->lock);
	handle->folder = folder_find(server, &attr);
	if (!handle->folder)
		handle->folder = folder_new(server, place, &attr);
	pthread_mutex_unlock(&server->lock);
}

static void handle_free(struct server *server, struct handle *handle)
{
	if (handle->fd >= 0)
		close(handle->fd);
	folder_put(server, handle->folder);
	pthread_mutex_destroy(&handle->position);
	free(handle->name);
	free(handle);
}

/* The server's lock is held. */
static int insert(struct call *call, struct handle *handle)
{
	struct server *server = call->server;
	struct handle **bucket;

	if (call->epoch != server->epoch)
		return -EBADF;
	if (server->handle_count >= HANDLES_MAX)
		return -ENFILE;
	do
		handle->id = atomic_fetch_add(&server->shared->handles, 1);
	while (handle->id == 0);
	bucket = bucket_of(server, handle->id);
	handle->next = *bucket;
	*bucket = handle;
	server->handle_count++;
	return 0;
}

int handle_add(struct call *call, int fd, bool writable)
{
	struct handle *handle = calloc(1, sizeof(*handle));
	int r;

	if (!handle) {
		close(fd);
		return -ENOMEM;
	}
	handle->users = 2; /* one is the call */
	handle->fd = fd;
	handle->writable = writable;
	if (writable)
		remember_place(call->server, handle, &call->places[0]);
	pthread_mutex_init(&handle->position, NULL);
	pthread_mutex_lock(&call->server->lock);
	r = insert(call, handle);
	pthread_mutex_unlock(&call->server->lock);
	if (r < 0)
		handle->users = 1;
	else
		call->reply.handle = handle->id;
	call->handle = handle;
	call->fd = call->file = fd;
	return r;
}

struct handle *handle_get(struct server *server, uint32_t id)
{
	struct handle *handle;

	pthread_mutex_lock(&server->lock);
	handle = *bucket_of(server, id);
	while (handle && handle->id != id)
		handle = handle->next;
	if (handle)
		handle->users++;
	pthread_mutex_unlock(&server->lock);
	return handle;
}

void handle_put(struct server *server, struct handle *handle)
{
	bool last;

	if (!handle)
		return;
	pthread_mutex_lock(&server->lock);
	last = --handle->users == 0;
	pthread_mutex_unlock(&server->lock);
	if (last)
		handle_free(server, handle);
}

void handle_close(struct server *server, struct handle *handle)
{
	struct handle **at;
	int fd = -1;

	pthread_mutex_lock(&server->lock);
	at = bucket_of(server, handle->id);
	while (*at && *at != handle)
		at = &(*at)->next;
	if (*at) {
		*at = handle->next;
		server->handle_count--;
		handle->users--; /* the caller's is not the last */
	}
	if (handle->users == 1) {
		fd = handle->fd;
		handle->fd = -1;
	}
	pthread_mutex_unlock(&server->lock);
	if (fd >= 0)
		close(fd);
}

void handles_drop(struct server *server, uint16_t epoch)
{
	struct handle *dropped = NULL, *handle;

	pthread_mutex_lock(&server->lock);
	server->epoch = epoch;
	server->handle_count = 0;
	for (size_t i = 0; i < HANDLE_BUCKETS; i++)
		while ((handle = server->handles[i])) {
			server->handles[i] = handle->next;
			handle->next = dropped;
			dropped = handle;
		}
	pthread_mutex_unlock(&server->lock);
	while ((handle = dropped)) {
		dropped = handle->next;
		handle_put(server, handle);
	}
}
