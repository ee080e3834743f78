#include "guest/files/call.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define HANDLES_MAX 32768

static struct handle **bucket_of(struct server *server, uint32_t id)
{
	return &server->handles[id % HANDLE_BUCKETS];
}

static void handle_free(struct handle *handle)
{
	close(handle->fd);
	pthread_mutex_destroy(&handle->position);
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
	handle->users = 1;
	handle->fd = fd;
	handle->writable = writable;
	pthread_mutex_init(&handle->position, NULL);
	pthread_mutex_lock(&call->server->lock);
	r = insert(call, handle);
	pthread_mutex_unlock(&call->server->lock);
	if (r < 0)
		handle_free(handle);
	else
		call->reply.handle = handle->id;
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
		handle_free(handle);
}

void handle_close(struct server *server, struct handle *handle)
{
	struct handle **at;

	pthread_mutex_lock(&server->lock);
	at = bucket_of(server, handle->id);
	while (*at && *at != handle)
		at = &(*at)->next;
	if (*at) {
		*at = handle->next;
		server->handle_count--;
		handle->users--; /* the caller's is not the last */
	}
	pthread_mutex_unlock(&server->lock);
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
