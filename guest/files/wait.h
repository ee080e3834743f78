/*
 * Requests that wait for a lock.
 */
#pragma once

#include "guest/files/call.h"

struct lock_request;

/** waits_init() - none yet. */
void waits_init(struct server *server);

/**
 * wait_begin() - wait for @lock, then reply to @call.
 * Return: 0: the wait has taken over what @lock holds; or -errno.
 */
int wait_begin(struct call *call, const struct lock_request *lock);

/** wait_cancel() - end the wait of @stream, now or before it begins. */
void wait_cancel(struct server *server, uint32_t stream);

/** waits_drop() - end all of former epochs. */
void waits_drop(struct server *server);
