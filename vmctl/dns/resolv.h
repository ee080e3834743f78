/*
 * The resolvers of the host, as /etc/resolv.conf has them.
 *
 * Theory of operation: the DNS proxy looks at what guests and hosts of the internet say, so
 * it is to see no files. A process that it makes before it is jailed sees them, and hears
 * nothing: it looks at /etc/resolv.conf once a second, and when that is another one it
 * writes the addresses, a struct upstream_list, into a pipe. It ends when nobody has the
 * other end any more.
 */
#pragma once

#include "vmctl/dns/upstream.h"

/**
 * resolv_start() - start that process; this one has to have one thread.
 * Return: the pipe to read from, the caller's; or -errno with @err filled.
 */
int resolv_start(struct error *err);
