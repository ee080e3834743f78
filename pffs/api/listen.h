/*
 * Listening sockets.
 */
#pragma once

#include "pffs/api/server.h"

/** listen_unix() - at @path, mode 0600. Return: a descriptor, or -errno with @err. */
int listen_unix(struct listener *listener, const char *path, struct error *err);

/**
 * listen_tcp() - at HOST:PORT, where HOST is a name or an address, that of IPv6 in
 * brackets, and port 0 a free one; @listener->address says then which.
 * Return: a descriptor, or -errno with @err filled.
 */
int listen_tcp(struct listener *listener, const char *address, struct error *err);
