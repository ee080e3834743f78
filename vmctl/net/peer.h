/*
 * Somebody that JSON objects are exchanged with, over a SOCK_SEQPACKET pair: the broker,
 * and the programs `dns` and `proxy`.
 *
 * Theory of operation: nothing waits. What the socket does not take now is queued, in
 * order, with the descriptors that go along.
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"

#include <jansson.h>
#include <stdbool.h>

#define PEER_MESSAGE_MAX (2u << 20)
#define PEER_FDS_MAX	 2

struct peer {
	struct loop *loop;
	struct loop_source source;
	int fd;		   /* -1: there is none (any more) */
	int came;	   /* while fn() runs: a descriptor that came along, or -1 */
	struct link queue; /* struct letter, in peer.c */
	void (*fn)(struct peer *peer, json_t *message); /* @message stays the peer's */
	void (*gone)(struct peer *peer);		/* it has ended */
	void (*taken)(struct peer *peer); /* or NULL: nothing is queued any more */
};

/**
 * peer_open() - exchange messages over @fd, which is the peer's from now on.
 * Return: 0 or -errno with @err.
 */
int peer_open(struct peer *peer, struct loop *loop, int fd,
	      void (*fn)(struct peer *peer, json_t *message),
	      void (*gone)(struct peer *peer), struct error *err);

/**
 * peer_send() - @message, which is consumed, and copies of @count descriptors. What cannot
 * be queued for want of memory ends the connection, since the two would disagree then.
 */
void peer_send(struct peer *peer, json_t *message, const int *fds, unsigned count);

/** peer_has_taken() - has the socket all that was sent? Also if there is no peer (any
 * more). */
bool peer_has_taken(const struct peer *peer);

/** peer_read() - take the messages that there are, at most @most. */
void peer_read(struct peer *peer, unsigned most);

/** peer_close() - drop what is queued. */
void peer_close(struct peer *peer);

/** peer_pair() - two connected sockets that take large messages. Return: 0 or -errno. */
int peer_pair(int pair[2], struct error *err);
