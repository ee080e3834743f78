/*
 * Sockets of ports in a mount of one sandbox (`pffs mount --only`).
 *
 * Theory of operation
 *
 * A socket is found by its inode, so each mount needs its own. Those in the mount of pffs
 * are made by the binder (binder.h). A mount of one sandbox may be in another mount
 * namespace, and is of another process, which stays for as long as the mount: its porter.
 * When somebody looks for a socket there, the porter is asked to make it. It listens there,
 * tells pffs who connects, and copies what goes by each connection.
 *
 * The porter has the rights of its user, who may use the sandbox and is trusted with
 * nothing else. So pffs waits for none of its answers, and takes no descriptor of it: who
 * had a copy of one could have pffs wait for him in the kernel. For each connection it
 * makes a pair of sockets, and the porter gets one.
 */
#pragma once

#include "pffs/core/net/binder.h"
#include "pffs/core/watch.h"

#include <stdbool.h>
#include <stdint.h>

struct core;
struct port;
struct sandbox;

/* To the porter, by the socket on which it handed its mount over. */
enum porter_order_kind {
	PORTER_MAKE, /* the socket @id, under that name in the mount's root */
	PORTER_END,  /* it is of no more use */
	PORTER_TAKE, /* who has waited longest at it has this connection; without one: none
		      */
};

struct porter_order {
	uint32_t kind;
	uint32_t id;
	char name[BINDER_NAME];
};

/* From it. */
enum porter_news_kind {
	PORTER_MADE, /* the socket is there, or @errnum says why it is not (any more) */
	PORTER_CAME, /* somebody has connected to it, and waits for PORTER_TAKE */
};

struct porter_news {
	uint32_t kind;
	uint32_t id;
	int32_t errnum;
};

struct porter {
	struct core *core;
	int fd; /* borrowed; -1: there is no porter */
	/* Does the mount show @sb? Its sandboxes may get another place, or owner. */
	bool (*shows)(const struct porter *porter, const struct sandbox *sb);
	struct link sockets; /* struct porter_socket */
	uint32_t last_id;
};

struct porter_socket {
	struct link link;
	struct porter *porter;
	struct watch watch;   /* of the port */
	struct link watchers; /* told when it is there, or will not be */
	struct porter_order order;
	uint64_t serial; /* of the sandbox */
	uint16_t number; /* of the port */
	bool made;
};

/** porter_init() - @fd: of the porter, non-blocking; it stays the caller's. */
void porter_init(struct porter *porter, struct core *core, int fd,
		 bool (*shows)(const struct porter *porter, const struct sandbox *sb));

/** porter_fini() - it has gone, and its sockets. No-op the second time. */
void porter_fini(struct porter *porter);

/** porter_hear() - read a message. Return: false when it has gone. */
bool porter_hear(struct porter *porter);

/** porter_find() - the socket of @port that is there or is being made, or NULL. */
struct porter_socket *porter_find(const struct porter *porter, const struct port *port);

/** porter_want() - likewise; have it made, if it is not. */
struct porter_socket *porter_want(struct porter *porter, struct port *port);

/** porter_making() - the port whose socket is being made under that name, or NULL. */
struct port *porter_making(const struct porter *porter, const char *name);
