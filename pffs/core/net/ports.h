/*
 * Ports of a guest that can be reached from outside.
 *
 * Theory of operation
 *
 * A port has a Unix socket in the mount, net/PORT, and may have a TCP port of the host's
 * loopback. pffs listens at both (binder.h), and takes each connection to the guest's agent
 * (connection.h), which connects to the program that listens there. So no network is needed
 * for it, and no policy holds for it: who may reach a port is told by the mode of the
 * sandbox's directory.
 *
 * The ports stay with the sandbox, whatever happens to its machine: a frozen one is resumed
 * by a connection, and a merge leaves them. A fork has them as well, with sockets of its
 * own; what is bound to the loopback stays its parent's.
 */
#pragma once

#include "pffs/core/net/binder.h"
#include "pffs/core/sandbox.h"
#include "pffs/core/watch.h"

#include <stdio.h>
#include <sys/socket.h>

#define PORTS_MAX     64
#define PORT_LINE_MAX 80

/* One who waits for connections. */
struct port_listener {
	struct port *port;
	struct loop_source source;
	int fd; /* -1: none */
};

struct port {
	struct link link; /* on ports->list, in order of number */
	struct ports *ports;
	uint16_t number;
	struct sockaddr_storage address; /* AF_UNSPEC: not at the loopback */
	struct port_listener local, tcp;
	struct binder_order order; /* of the local one */
	bool ordered;		   /* it is being made */
	struct link watchers;	   /* told when it is made, cannot be, or goes */
};

struct ports {
	struct sandbox *sb;
	struct link list;	 /* struct port */
	struct link connections; /* struct connection */
	unsigned connection_count;
	bool blocked;	      /* one is not read because too much waits for the guest */
	uint32_t last_stream; /* the newest one's, from AGENT_PORTS on */
};

/**
 * ports_set() - replace them, or add to them.
 * @text: lines: PORT, or PORT ADDRESS:PORT with an address of the loopback; # begins a
 *	  comment.
 *
 * Nothing changes when a line is wrong. Return: 0, -EINVAL, -EPERM for another address,
 * -EADDRINUSE, or another -errno; @err filled.
 */
int ports_set(struct sandbox *sb, const char *text, bool append, struct error *err);

/** ports_print() - the lines by which they can be set. */
void ports_print(const struct sandbox *sb, FILE *out);

/** ports_text() - likewise. Return: a string to free(), or NULL. */
char *ports_text(const struct sandbox *sb);

/** ports_restore() - what was kept of them on disk. */
void ports_restore(struct sandbox *sb, const char *text);

/** ports_find() - Return: the port, or NULL. */
struct port *ports_find(const struct sandbox *sb, unsigned number);

/** ports_begin() - the world sees @sb: from now on they can be reached. */
void ports_begin(struct sandbox *sb);

/** ports_begin_all() - there is the mount, if there will be one: those of a former pffs,
 * too. */
void ports_begin_all(struct core *core);

/** ports_fork() - @child has got a copy of the machine of @parent. Return: 0 or -ENOMEM. */
int ports_fork(struct sandbox *child, const struct sandbox *parent);

/** ports_break() - the machine of @sb is another one, or none: connections end. */
void ports_break(struct sandbox *sb);

/** ports_give_up() - the machine does not come back: nor do connections that wait for it.
 */
void ports_give_up(struct sandbox *sb);

/** ports_leave() - the machine of @sb goes on as another one's, without its connections. */
void ports_leave(struct sandbox *sb);

/** ports_drop() - @sb goes. No-op the second time. */
void ports_drop(struct sandbox *sb);

/** ports_mount_gone() - sockets in it are of no more use: let go of them. */
void ports_mount_gone(struct binder *binder);

/** ports_watch() - take connections, or not for now. */
void ports_watch(struct ports *ports, bool on);
