/*
 * The process that makes the sockets by which ports of guests are reached.
 *
 * Theory of operation
 *
 * A Unix socket in the mount is an inode to which a process has bound a socket: the kernel
 * finds the one by the other. bind(2) asks the file system for the inode, by mknod, so it
 * cannot be pffs that calls it, since it is pffs that answers. The binder does: it is
 * forked before there is anything that it could hold, and ends with pffs.
 * Nor may pffs, which has given its rights up by then, bind TCP ports: the binder does
 * that, too, and to addresses of the loopback alone.
 *
 * The name under which a socket is bound is random, in the mount's root, and known to pffs
 * and the binder alone: pffs answers mknod of that name with the inode of the port
 * (binder_find()), and nobody ever finds it there again. So it does not matter where the
 * sandbox is, or how it is called later on.
 *
 * A bound socket holds the mount that it was bound in, which could then not be unmounted.
 * So it is bound in a mount namespace that ends at once. The file system itself is still
 * held: the binder tells when the mount has gone, so that pffs lets go of the sockets.
 *
 * The porter of a mount of one sandbox has a binder of its own (porter.h).
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define BINDER_PREFIX ".port-"
#define BINDER_NAME   39 /* that, 32 digits and NUL */

struct sockaddr_storage;

struct binder {
	struct loop *loop;
	struct loop_source source; /* fd: where orders go and sockets come; -1: none */
	int calls;		   /* likewise, for what is awaited */
	bool mounted;
	struct link orders;		     /* struct binder_order, in order of arrival */
	void (*mount_gone)(struct binder *); /* sockets in it are of no more use */
};

struct binder_order {
	struct link link;
	char name[BINDER_NAME];
	bool sent;
	uint64_t serial; /* of the sandbox */
	uint16_t port;
	/* Called once: @fd, a listening socket that is taken over, or -1 with @err. */
	void (*done)(struct binder_order *order, int fd, const struct error *err);
};

/** binder_init() - there is none yet: nothing can be bound. */
void binder_init(struct binder *binder, struct loop *loop,
		 void (*mount_gone)(struct binder *binder));

/**
 * binder_fork() - start the process, which has the rights of its caller from then on.
 * @mountpoint: where there will be a mount, or NULL.
 * @ends: set to two descriptors, for binder_start(). If they are closed it ends.
 * Return: 0 or -errno with @err filled.
 */
int binder_fork(const char *mountpoint, int ends[2], struct error *err);

/**
 * binder_start() - use it.
 * @ends: of binder_fork(); the binder's from now on.
 * Return: 0 or -errno with @err filled.
 */
int binder_start(struct binder *binder, const int ends[2], struct error *err);

/** binder_mounted() - there is the mount. Sockets that were ordered can be made. */
void binder_mounted(struct binder *binder);

/** binder_stop() - let the process end. */
void binder_stop(struct binder *binder);

/** binder_order() - have a socket made in the mount. @order: the caller's, with @serial,
 * @port and @done. */
void binder_order(struct binder *binder, struct binder_order *order);

/** binder_cancel() - nobody wants it any more. No-op when it is done. */
void binder_cancel(struct binder *binder, struct binder_order *order);

/** binder_find() - the order whose socket is just being made under that name, or NULL. */
const struct binder_order *binder_find(const struct binder *binder, const char *name);

/**
 * binder_listen() - listen at a TCP address of the loopback; waits for the process.
 * Return: a non-blocking descriptor, or -errno with @err filled.
 */
int binder_listen(struct binder *binder, const struct sockaddr_storage *address,
		  struct error *err);

/** binder_is_loopback() - of this machine alone? */
bool binder_is_loopback(const struct sockaddr_storage *address);
