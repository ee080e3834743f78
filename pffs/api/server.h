/*
 * The HTTP server: where it listens, and the loop that it is in.
 *
 * Theory of operation: libmicrohttpd has one daemon for each listening socket, and no
 * thread. The epoll descriptor of a daemon is a source of our own loop: what it tells is
 * handled by MHD_run(). A timer has the next of its deadlines, and runs it when a
 * connection is resumed, which no descriptor tells.
 *
 * A connection has a time (visitor.c) for the headers of a request, however slowly they
 * come, also before its first and after each; libmicrohttpd itself ends one that neither
 * sends nor takes anything for SERVER_IDLE_S while it should. A request that may be
 * answered has no limit: what it waits for has, and who reads an endless stream may stop
 * for as long as he likes.
 *
 * Which address needs a key, and what a web page may not do, is in auth.h.
 */
#pragma once

#include "pffs/api/auth.h"
#include "util/list.h"
#include "util/loop.h"

#define SERVER_ADDRESSES   16
#define SERVER_IDLE_S	   75u
#define SERVER_CONNECTIONS 1024 /* of each listener */

struct core;
struct MHD_Daemon;

struct listener {
	struct server *server;
	struct MHD_Daemon *daemon;
	struct loop_source source;
	struct loop_timer timer;
	int fd;		  /* until the daemon has it */
	bool local;	  /* a Unix socket: who may open it may all */
	bool loopback;	  /* or this machine alone */
	char address[96]; /* HOST:PORT, or the socket's path */
};

struct server_options {
	const char *socket; /* path of the Unix socket, which stays for the caller to
			       remove; NULL */
	const char *addresses[SERVER_ADDRESSES];
	unsigned address_count;
	const char *keys_file; /* or NULL */
};

struct server {
	struct loop *loop;
	struct core *core;
	struct auth auth;
	struct listener *listeners;
	unsigned count;
	struct link requests;
	struct link visitors; /* connections */
	struct link sessions; /* of pty.c */
	size_t bodies;	      /* bytes of bodies that come, or are parsed */
	char *where;	      /* lines: api PATH, http ADDRESS */
	bool ending;
};

/**
 * server_listen() - take the addresses; who connects waits until server_begin().
 * @core: may be set up later.
 * Return: 0 or -errno with @err filled; server_fini() then, too.
 */
int server_listen(struct server *server, struct loop *loop, struct core *core,
		  const struct server_options *options, struct error *err);

/** server_begin() - answer from now on. Return: 0 or -errno with @err filled. */
int server_begin(struct server *server, struct error *err);

/** server_fini() - send what is ready, and end. No-op for one that is all zeros. */
void server_fini(struct server *server);

/** server_remove_stale() - remove sockets in @dir, PID.sock, whose process has gone. */
void server_remove_stale(const char *dir);

/** listener_run_soon() - connections have been resumed. */
void listener_run_soon(struct listener *listener);

/** pty_fini() - forget the sessions; the terminals stay. */
void pty_fini(struct server *server);
