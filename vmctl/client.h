/*
 * One client of the broker: a stream of link frames.
 *
 * Theory of operation
 *
 * Input is read in pieces and handled frame by frame; nothing that a frame asks
 * for blocks. Output is queued and written when the stream takes it. Three
 * limits keep the queue small:
 *   - agent bytes are queued only while it holds less than CLIENT_BUSY;
 *   - beyond CLIENT_STALL the client's own frames are not read, so that requests
 *     cannot pile up replies;
 *   - a client that lets events pile up to CLIENT_DROP is ended.
 *
 * A session begins with LINK_HELLO and ends with LINK_BYE, with a frame that
 * breaks the protocol, or with the stream. What the session owned is let go;
 * its VMs run on. What a client said before it hung up still counts, read or not: it may
 * have ended its VMs. A connection is closed when its client breaks the protocol. A
 * port cannot be: the client behind it is told off with LINK_BYE, and frames
 * are ignored until the next LINK_HELLO. LINK_DISKS comes from the relay, not from the
 * client behind it: only a port takes it, in a session or not. When a relay has come, or
 * a new one, the port's streams begin anew (host_line.h); when it has gone the port hangs
 * up, which ends the session.
 *
 * Callbacks of other objects queue output for a client, so a client is never
 * freed while it is being written to: client_break() only arranges for its end.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"

#include "wire/link.h"

#include <jansson.h>
#include <stdbool.h>

#define CLIENT_BUSY  (256u << 10)
#define CLIENT_STALL (1u << 20)
#define CLIENT_DROP  (4u << 20)

/* What to wait for while a port hangs up, which it says for ever: the end of that. */
#define CLIENT_HUNG (EPOLLIN | EPOLLOUT | EPOLLET)

struct broker;

struct client {
	struct link link; /* on broker->clients */
	struct broker *broker;
	struct loop_source source;
	struct loop_timer end; /* armed when the session has to end */
	struct buf in, out;
	struct link channels; /* struct channel, by its link: the least served first */
	struct link requests; /* struct request, by its client_link */
	int fd;
	bool port;    /* a virtio-serial port: sessions end, the stream does not */
	bool greeted; /* in a session */
	bool broken;  /* the session is about to end */
	bool hung;    /* a port without a relay */
	bool former;  /* what comes before @nonce is of a former relay */
	uint8_t nonce[LINK_NONCE];
};

/**
 * client_add() - serve a client.
 * @fd:   a non-blocking stream; the client's from now on, also on failure.
 * @port: the stream outlives its sessions.
 *
 * Return: 0 or -errno with @err filled.
 */
int client_add(struct broker *broker, int fd, bool port, struct error *err);

/** client_free() - end the client and close its stream. */
void client_free(struct client *client);

/** client_break() - end the session as soon as the running callback is over. */
void client_break(struct client *client);

/** client_begin() - a port's streams begin anew, each with @nonce. */
void client_begin(struct client *client, const uint8_t nonce[LINK_NONCE]);

/** client_busy() - whether agent bytes have to wait. */
static inline bool client_busy(const struct client *client)
{
	return client->out.len >= CLIENT_BUSY;
}

/** client_watch() - output was queued or its limits have changed. */
void client_watch(struct client *client);

/**
 * client_send() - queue a control message.
 * Return: 0, or -EMSGSIZE when @message does not fit a frame.
 */
int client_send(struct client *client, json_t *message);
