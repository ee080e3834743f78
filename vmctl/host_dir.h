/*
 * The run directory of an emulated host: how a new vmctl finds what a killed one has left.
 *
 * Theory of operation
 *
 * QEMU outlives a vmctl that is killed. So its ports and its monitor are Unix sockets in a
 * directory beside vmctl's own socket, SOCKET.host, on which QEMU listens; and what
 * it says goes to a FIFO there, which QEMU itself holds open. Files there, in JSON, say the
 * rest: `options`, how QEMU was started, and `disks` (host_disks.h). The directory is its
 * user's alone, and one vmctl has it at a time, by a lock.
 *
 * A socket that refuses a connection is a dead QEMU's. One that takes it tells whose it is:
 * SO_PEERCRED has the process that listens. Until QEMU has come so far that is the vmctl
 * which made the socket, so that needs no file, which could be of another time.
 *
 * Nothing is synced: QEMU does not outlive the machine.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>
#include <sys/types.h>

struct host_dir {
	char *path;
	int fd; /* of the directory, which has the lock; -1: not open */
};

/**
 * host_dir_open() - make the directory if it is not there, and lock it.
 * @socket: of vmctl itself.
 * Return: 0 or -errno with @err filled; host_dir_close() is right either way.
 */
int host_dir_open(struct host_dir *dir, const char *socket, struct error *err);

/** host_dir_close() - leave it to the next vmctl. */
void host_dir_close(struct host_dir *dir);

/** host_dir_clear() - remove all files in it. */
void host_dir_clear(const struct host_dir *dir);

/** host_dir_remove() - remove it; host_dir_close() is due then. */
void host_dir_remove(const struct host_dir *dir);

/** host_dir_listen() - a socket there. Return: a descriptor, or -errno with @err filled. */
int host_dir_listen(const struct host_dir *dir, const char *name, struct error *err);

/**
 * host_dir_connect() - connect to the socket of that name.
 * @peer: set to the process that listens; may be NULL.
 * Return: a non-blocking descriptor, or -errno: -ENOENT, -ECONNREFUSED, ...
 */
int host_dir_connect(const struct host_dir *dir, const char *name, pid_t *peer);

/** host_dir_fifo() - the FIFO of that name, which is made if need be.
 * @flags: of open(2). Return: a descriptor, or -errno with @err filled. */
int host_dir_fifo(const struct host_dir *dir, const char *name, int flags,
		  struct error *err);

/** host_dir_put() - write a file, whole or not at all; @value's reference is taken.
 * Return: 0 or -errno. */
int host_dir_put(const struct host_dir *dir, const char *name, json_t *value);

/**
 * host_dir_get() - read one.
 * @value: set to a new reference, or to NULL when there is none that could be read.
 * Return: 0, or -errno when it is not known whether there is.
 */
int host_dir_get(const struct host_dir *dir, const char *name, json_t **value);
